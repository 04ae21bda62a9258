import logging
from pathlib import Path

import pytest

from xec_deploy.errors import UsageError
from xec_deploy.events import InputFile, expand_inputs, parse_input


@pytest.mark.parametrize(
    ("text", "path", "tree"),
    [
        ("a.root", "a.root", None),
        ("a.root:rec", "a.root", "rec"),
        ("a.root:dir/rec", "a.root", "dir/rec"),
        ("odd:name.root", "odd:name.root", None),
        ("a.txt:rec", "a.txt:rec", None),
        ("run*.root:rec", "run*.root", "rec"),
        ("root://host:1094//x/a.root", "root://host:1094//x/a.root", None),
        ("root://host.root:1094//x/a.root", "root://host.root:1094//x/a.root", None),
        ("root://host:1094//x/a.root:rec", "root://host:1094//x/a.root", "rec"),
        ("https://host:8080/a.root?key=1", "https://host:8080/a.root?key=1", None),
        ("https://host:8080/a.root?key=1:rec", "https://host:8080/a.root?key=1", "rec"),
        ("http://host:80", "http://host:80", None),
    ],
)
def test_parse_input_separates_only_a_tree(text, path, tree):
    assert parse_input(text) == InputFile(path, tree)


def test_existing_file_and_path_object_are_taken_literally(tmp_path):
    odd = tmp_path / "a.root:b"
    assert parse_input(odd) == InputFile(str(odd))
    assert parse_input(str(odd)).tree == "b"
    odd.touch()
    assert parse_input(str(odd)) == InputFile(str(odd))


def test_glob_is_sorted_and_takes_the_tree(tmp_path):
    for name in ("c.root", "a.root", "b.root", "d.txt"):
        (tmp_path / name).touch()
    found = expand_inputs([f"{tmp_path}/*.root:rec"], tree="other")
    assert [Path(item.path).name for item in found] == ["a.root", "b.root", "c.root"]
    assert {item.tree for item in found} == {"rec"}
    assert expand_inputs([f"{tmp_path}/[ab].root"], tree="other")[1].tree == "other"


def test_glob_without_match_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=r"none\*\.root: no file matches"):
        expand_inputs([f"{tmp_path}/none*.root"])


def test_missing_plain_file_is_kept_for_later():
    assert expand_inputs(["/nowhere/x.root"]) == [InputFile("/nowhere/x.root")]


def test_no_arguments():
    with pytest.raises(UsageError, match="no input"):
        expand_inputs([])


def test_duplicates_are_read_once(tmp_path, caplog):
    file = tmp_path / "a.root"
    file.touch()
    (tmp_path / "link.root").symlink_to(file)
    with caplog.at_level(logging.WARNING):
        found = expand_inputs([str(file), f"{tmp_path}/*.root", f"{file}:rec"])
    assert found == [InputFile(str(file)), InputFile(str(file), "rec")]
    assert "more than once" in caplog.text


def test_run_list(tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("430001.root", "430002.root", "with blank.root"):
        (tmp_path / "data" / name).touch()
    listing = tmp_path / "runs.txt"
    listing.write_text(
        "# run path\n\n"
        "430001 data/430001.root\n"
        "430002\tdata/430002.root:rec   # good one\n"
        "430003 data/with blank.root\n"
        "430004 root://host//430004.root\n"
        f"430005 {tmp_path}/absent.root\n"
    )
    found = expand_inputs([f"@{listing}"], tree="tree")
    assert found == [
        InputFile(str(tmp_path / "data/430001.root"), "tree", 430001),
        InputFile(str(tmp_path / "data/430002.root"), "rec", 430002),
        InputFile(str(tmp_path / "data/with blank.root"), "tree", 430003),
        InputFile("root://host//430004.root", "tree", 430004),
        InputFile(str(tmp_path / "absent.root"), "tree", 430005),
    ]


@pytest.mark.parametrize("line", ["x430001 a.root", "430001", "-1 a.root", "430001 @more.txt"])
def test_bad_line_of_a_run_list_is_named(tmp_path, line):
    listing = tmp_path / "runs.txt"
    listing.write_text(f"1 a.root\n{line}\n")
    with pytest.raises(UsageError, match=r"runs\.txt, line 2"):
        expand_inputs([f"@{listing}"])


def test_unusable_run_lists(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        expand_inputs([f"@{tmp_path}/absent.txt"])
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(UsageError, match="names no file"):
        expand_inputs([f"@{tmp_path}/empty.txt"])
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not a text file"):
        expand_inputs([f"@{tmp_path}/binary.txt"])


def test_an_input_that_was_expanded_elsewhere_keeps_its_run(tmp_path):
    item = InputFile(str(tmp_path / "run[1].root"), None, 430001)
    assert expand_inputs([item], tree="rec") == [InputFile(item.path, "rec", 430001)]
