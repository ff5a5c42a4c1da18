"""The reader of pages notices what is wrong with one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.docs.page import Reader

GOOD = """
`hello.py` says hello:

```python
print("hello")
```

In a first terminal:

```console
$ python3 hello.py
hello
$ ID=$(cat /proc/sys/kernel/random/uuid) && echo the id is $ID, again $ID
the id is 019c8f3e-52a4-7cc1-a1b3-6f0d2c9be875, again 019c8f3e-52a4-7cc1-a1b3-6f0d2c9be875
$ echo 019c8f3e-52a4-7cc1-a1b3-6f0d2c9be875 > id.txt
$ seq 5
1
...
5
```

In the second terminal:

```console
$ grep -c . id.txt
1
```
"""


def test_a_page_is_followed(reader: Callable[..., Reader], tmp_path: Path) -> None:
    somebody = reader()
    somebody.follow(GOOD)
    (real,) = somebody.seen.values()
    assert (tmp_path / "id.txt").read_text() == f"{real}\n"
    assert len(somebody.commands) == 5


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("\nhello\n", "\nhallo\n"),
        ("\nhello\n", "\n"),
        ("\nhello\n", "\nhello\nhello\n"),
        ("5\n```", "6\n```"),
        (", again 019c8f3e", ", again 119c8f3e"),
        ("seq 5", "false"),
        ("```python", "```sh"),
        ("`hello.py`", "A file"),
        ("python3 hello.py", "python3 hallo.py"),
    ],
)
def test_a_wrong_page_is_noticed(reader: Callable[..., Reader], right: str, wrong: str) -> None:
    assert right in GOOD
    with pytest.raises(AssertionError):
        reader().follow(GOOD.replace(right, wrong))
