import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeler.config import Config, dump_config, load_config
from labeler.errors import BadInput


@given(st.text(st.characters(codec="utf-8")))
def test_what_is_written_is_read_back(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("c") / "labeler.toml"
    config = Config(images=text, batch_size=9, audit_share=0.25)
    path.write_text(dump_config(config), "utf-8")
    assert load_config(path) == config


def test_flags_go_over_the_file_and_none_leaves_it(tmp_path):
    path = tmp_path / "labeler.toml"
    path.write_text('encoder = "x"\nbatch_size = 5\n')
    assert load_config(path, batch_size=None, encoder="y") == Config(encoder="y", batch_size=5)


@pytest.mark.parametrize(
    "values",
    [
        {"audit_share": 1.5}, {"batch_size": 0}, {"lease_s": 1}, {"near_duplicate_cos": 0.0},
        {"max_megapixels": 0}, {"sample_size": 1}, {"exact_limit": -1}, {"search_recall": 0.0},
        {"search_recall": 1.5},
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused_with_what_to_give(values):
    with pytest.raises(BadInput, match="Give"):
        Config(**values)


def test_a_folder_name_that_is_no_text_is_said():
    with pytest.raises(BadInput, match="no text"):
        dump_config(Config(images="caf\udce9"))
