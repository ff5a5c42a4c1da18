from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.client.address import Address, parse_address, parse_url


@pytest.mark.parametrize(
    ("url", "addresses", "key", "tls"),
    [
        ("taskq://host", [("host", 6379)], None, False),
        ("taskq://host:7000/", [("host", 7000)], None, False),
        ("TASKQ://KEY@a, b:1", [("a", 6379), ("b", 1)], "KEY", False),
        ("taskqs://k%40y/+?#@a:1,b", [("a", 1), ("b", 6379)], "k@y/+?#", True),
        ("taskq://u:p@w@a", [("a", 6379)], "u:p@w", False),
        ("taskq://[::1]:7,[fe80::1]", [("::1", 7), ("fe80::1", 6379)], None, False),
    ],
)
def test_urls(url, addresses, key, tls):
    target = parse_url(url)
    assert target.addresses == tuple(Address(*address) for address in addresses)
    assert (target.key, target.tls) == (key, tls)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "must start with taskq://"),
        ("redis://SECRET@host", "must start with taskq://"),
        ("SECRET@host:1", "must start with taskq://"),
        ("taskq://", "host 1: the host name is empty"),
        ("taskq://@host", "the key in front of '@' is empty"),
        ("taskq://SECRET@a,,b", "host 2: the host name is empty"),
        ("taskq://SECRET@a,b:port", "host 2: port 'port' is not a number from 1 to 65535"),
        ("taskq://SECRET@a:0", "host 1: port '0'"),
        ("taskq://SECRET@a:65536", "host 1: port '65536'"),
        ("taskq://SECRET@a:", "host 1: port ''"),
        ("taskq://SECRET@a:²", "host 1: port"),
        ("taskq://SECRET@::1", "host 1: an IPv6 address needs brackets: [::1]"),
        ("taskq://SECRET@[::1", "host 1: an IPv6 address is written [::1]:6379"),
        ("taskq://SECRET@[::1]x", "host 1: an IPv6 address is written [::1]:6379"),
        ("taskq://SECRET@a b", "host 1: the host name is not one word"),
        ("taskq://SECRET/x@a/path", "host 1: nothing may follow the hosts"),
        ("taskq://SECRET/with-slash", "host 1: nothing may follow the hosts"),
    ],
)
def test_errors_name_the_part_and_never_the_key(url, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parse_url(url)
    assert words in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_a_target_does_not_show_its_key():
    assert "SECRET" not in repr(parse_url("taskq://SECRET@host"))


@given(st.text())
def test_any_text_is_an_address_or_a_value_error(text):
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert parse_address(str(address)) == address
