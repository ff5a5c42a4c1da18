"""The head of a state's batches: what comes back is what went in, and nothing else is taken."""

import pytest

from cluster.storage.state_records import decode_state_head, encode_state_head


def test_a_head_comes_back_and_a_cut_one_is_refused() -> None:
    record = encode_state_head(3, 77, (4, 5), 2**32 - 1)
    assert decode_state_head(record) == (3, 77, (4, 5), 2**32 - 1)
    with pytest.raises(ValueError, match="36 bytes"):
        decode_state_head(record[:-1])
