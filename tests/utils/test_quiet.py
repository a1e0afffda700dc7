import pytest
from mmengine.logging import print_log

from gcseg.utils.quiet import without_lines


def test_lines_with_a_text_are_left_out_for_the_time_of_the_block(capfd):
    with pytest.raises(KeyError), without_lines("of no use"):
        print_log("this is of no use", "current")
        print_log("this is of use", "current")
        raise KeyError
    print_log("again of no use", "current")
    said = "".join(capfd.readouterr())
    assert "this is of use" in said and "again of no use" in said and "this is of no use" not in said
