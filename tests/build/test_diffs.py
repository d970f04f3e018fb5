"""Unified diffs: what applies, and what each diff that does not apply says."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

from pylivepatch.build import BuildResult, build_from_diff, examine_diff
from pylivepatch.errors import DiffError
from pylivepatch.patch import Patch

OLD = "def f(x):\n    a = 1\n    b = 2\n    return x\n\n\ndef g():\n    return 1\n"
DIFF = """\
--- a/pkg/mod.py
+++ b/pkg/mod.py
@@ -1,4 +1,4 @@
 def f(x):
     a = 1
     b = 2
-    return x
+    return x + 1
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "site"
    (root / "pkg").mkdir(parents=True)
    (root / "pkg" / "__init__.py").write_text("")
    (root / "pkg" / "mod.py").write_text(OLD)
    return root


def built(diff: str | list[str], source: Path) -> Patch:
    return build_from_diff(diff, source, name="fix")


def new_source(diff: str | list[str], source: Path) -> str:
    return built(diff, source).modules[0].new_source


def test_a_git_diff_applies(source: Path) -> None:
    head = "diff --git a/pkg/mod.py b/pkg/mod.py\nindex 123..456 100644\n"
    patch = built(head + DIFF, source)
    assert [(module.name, module.path) for module in patch.modules] == [("pkg.mod", "pkg/mod.py")]
    assert patch.modules[0].old_source == OLD
    assert patch.modules[0].new_source == OLD.replace("return x", "return x + 1")


def test_a_plain_diff_with_time_stamps_applies(source: Path) -> None:
    stamped = DIFF.replace("a/pkg/mod.py", "old/pkg/mod.py\t2024-01-02 03:04:05.000000000 +0000")
    assert "return x + 1" in new_source(
        stamped.replace("b/pkg/mod.py", "new/pkg/mod.py\t2024-01-02 03:04:06"), source
    )


def test_a_diff_without_prefixes_applies(source: Path) -> None:
    assert "return x + 1" in new_source(DIFF.replace("a/", "").replace("b/", ""), source)


def test_a_quilt_patch_applies(source: Path) -> None:
    text = "Fix f.\n\nIndex: site/pkg/mod.py\n====\n" + DIFF.replace(
        "a/pkg/mod.py", "site.orig/pkg/mod.py"
    ).replace("b/pkg", "site/pkg")
    assert "return x + 1" in new_source(text, source)


def test_a_diff_of_a_checkout_applies_to_the_installed_package(source: Path) -> None:
    diff = DIFF.replace("a/pkg", "a/src/pkg").replace("b/pkg", "b/src/pkg")
    assert built(diff, source / "pkg").modules[0].name == "pkg.mod"


def test_what_a_diff_changes_outside_the_source_is_told(source: Path) -> None:
    diff = DIFF + "--- a/tests/test_mod.py\n+++ b/tests/test_mod.py\n@@ -1 +1 @@\n-x\n+y\n"
    result = examine_diff(diff, source, name="fix")
    assert result.outcome == "built"
    assert [(finding.code, finding.file) for finding in result.changes if not finding.carried] == [
        ("PLP223", "tests/test_mod.py")
    ]


def test_several_diffs_apply_in_order(source: Path, tmp_path: Path) -> None:
    second = DIFF.replace("-    return x\n", "-    return x + 1\n").replace(
        "+    return x + 1\n", "+    return x + 2\n"
    )
    (tmp_path / "second.patch").write_text(second)
    assert "return x + 2" in new_source([DIFF, str(tmp_path / "second.patch")], source)


def test_a_hunk_that_moved_applies_and_is_told(source: Path) -> None:
    path = source / "pkg" / "mod.py"
    path.write_text("# a\n# b\n" + OLD)
    result = examine_diff(DIFF, source, name="fix")
    assert result.patch is not None
    assert [finding.message for finding in result.changes if finding.code == "PLP225"] == [
        "hunk 1 (the diff:3) applied 2 lines below where it says"
    ]


def test_hunks_after_one_another_keep_count_of_lines(source: Path) -> None:
    after = OLD.replace("    a = 1\n", "").replace("return 1", "return 2")
    lines = difflib.unified_diff(
        OLD.splitlines(True), after.splitlines(True), "a/pkg/mod.py", "b/pkg/mod.py", n=0
    )
    assert new_source("".join(lines), source) == after


def test_a_file_without_a_newline_at_its_end(source: Path) -> None:
    (source / "pkg" / "mod.py").write_text("def f():\n    return 1")
    diff = (
        "--- a/pkg/mod.py\n+++ b/pkg/mod.py\n@@ -1,2 +1,2 @@\n def f():\n-    return 1\n"
        "\\ No newline at end of file\n"
        "+    return 2\n\\ No newline at end of file\n"
    )
    assert new_source(diff, source) == "def f():\n    return 2"


def test_a_file_with_windows_line_ends(source: Path) -> None:
    (source / "pkg" / "mod.py").write_bytes(OLD.replace("\n", "\r\n").encode())
    assert new_source(DIFF, source) == OLD.replace("return x", "return x + 1")
    assert new_source(DIFF.replace("\n", "\r\n"), source) == OLD.replace("return x", "return x + 1")


def test_a_new_file_is_a_new_module(source: Path) -> None:
    diff = (
        "diff --git a/pkg/new.py b/pkg/new.py\nnew file mode 100644\n--- /dev/null\n"
        "+++ b/pkg/new.py\n@@ -0,0 +1 @@\n+x = 1\n"
    )
    result = examine_diff(diff, source, name="fix")
    assert [(finding.code, finding.file) for finding in result.changes] == [("PLP219", "pkg/new.py")]


def test_a_rename_is_a_new_module_and_one_that_nobody_imports(source: Path) -> None:
    diff = (
        "diff --git a/pkg/mod.py b/pkg/other.py\nsimilarity index 100%\n"
        "rename from pkg/mod.py\nrename to pkg/other.py\n"
    )
    result = examine_diff(diff, source, name="fix")
    assert [(finding.code, finding.file) for finding in (*result.changes, *result.refusals)] == [
        ("PLP219", "pkg/other.py"),
        ("PLP222", "pkg/mod.py"),
    ]


@pytest.mark.parametrize("prefixes", [("a/", "b/"), ("", ""), ("i/", "w/")])
def test_a_rename_is_read_with_any_prefix(source: Path, prefixes: tuple[str, str]) -> None:
    old, new = prefixes
    diff = (
        f"diff --git {old}pkg/mod.py {new}pkg/other.py\nsimilarity index 100%\n"
        "rename from pkg/mod.py\nrename to pkg/other.py\n"
    )
    result = examine_diff(diff, source, name="fix")
    assert [(finding.code, finding.file) for finding in (*result.changes, *result.refusals)] == [
        ("PLP219", "pkg/other.py"),
        ("PLP222", "pkg/mod.py"),
    ]
    assert "it is what pkg.mod was" in result.changes[0].message


def test_a_rename_with_changes_is_a_new_module(source: Path) -> None:
    diff = DIFF.replace("+++ b/pkg/mod.py", "+++ b/pkg/other.py")
    header = "diff --git a/pkg/mod.py b/pkg/other.py\nrename from pkg/mod.py\nrename to pkg/other.py\n"
    result = examine_diff(header + diff[diff.index("--- ") :], source, name="fix")
    assert [finding.file for finding in result.changes if finding.code == "PLP219"] == ["pkg/other.py"]


def test_a_copy_leaves_the_original(source: Path) -> None:
    diff = "diff --git a/pkg/mod.py b/pkg/other.py\ncopy from pkg/mod.py\ncopy to pkg/other.py\n"
    result = examine_diff(diff, source, name="fix")
    assert [(finding.code, finding.file) for finding in (*result.changes, *result.refusals)] == [
        ("PLP219", "pkg/other.py")
    ]


@pytest.mark.parametrize(
    ("path", "code", "word"),
    [
        ("pkg/words.txt", "PLP283", "no Python source"),
        ("pkg/page.html", "PLP283", "no Python source"),
        ("pkg/fast.cpython-313-x86_64-linux-gnu.so", "PLP283", "compiled code"),
        ("pkg/fast.pyx", "PLP223", "no running process"),
        ("pkg/py.typed", "PLP223", "no running process"),
    ],
)
def test_a_file_that_is_no_python_source_is_named(source: Path, path: str, code: str, word: str) -> None:
    (source / path).write_text("old\n")
    diff = f"--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-old\n+new\n"
    result = examine_diff(diff, source, name="fix")
    (finding,) = (*result.changes, *result.refusals)
    assert (finding.code, finding.file) == (code, path)
    assert word in finding.message


def test_a_binary_file_is_refused(source: Path) -> None:
    (source / "pkg" / "data.bin").write_bytes(b"\0\1")
    diff = (
        "diff --git a/pkg/data.bin b/pkg/data.bin\nindex 1..2\n"
        "Binary files a/pkg/data.bin and b/pkg/data.bin differ\n"
    )
    result = examine_diff(diff, source, name="fix")
    assert [finding.code for finding in result.refusals] == ["PLP283"]


def test_a_quoted_path_is_read_as_git_writes_it(source: Path) -> None:
    (source / "pkg" / "ä.py").write_text(OLD)
    diff = DIFF.replace("a/pkg/mod.py", '"a/pkg/\\303\\244.py"').replace(
        "b/pkg/mod.py", '"b/pkg/\\303\\244.py"'
    )
    assert built(diff, source).modules[0].name == "pkg.ä"


HEAD = "--- a/pkg/mod.py\n+++ b/pkg/mod.py\n"
BROKEN = {
    "no diff at all": ("hello\nworld\n", "holds no unified diff"),
    "empty": ("", "holds no unified diff"),
    "a context diff": ("*** a/pkg/mod.py\n--- b/pkg/mod.py\n***************\n", "context diff"),
    "other context": (
        DIFF.replace("b = 2", "b = 3"),
        "hunk 1 does not apply to pkg/mod.py at line 1: line 3",
    ),
    "applied already": (
        DIFF.replace("-    return x\n+    return x + 1", "-    return y\n+    return x"),
        "applied",
    ),
    "cut off": (DIFF.rpartition("-")[0], "hunk 1 of b/pkg/mod.py is cut off"),
    "wrong counts": (DIFF.replace("-1,4 +1,4", "-1,3 +1,4"), "announces 3 old and 4 new lines"),
    "an odd line": (HEAD + "@@ -1,2 +1,2 @@\n def f(x):\n*    a = 1\n", "starts with '*'"),
    "a header alone": (HEAD, "no hunk"),
    "a hunk alone": ("@@ -1,2 +1,2 @@\n x\n", "without a file's header"),
    "a bad hunk header": (HEAD + "@@ -x +y @@\n", "header that cannot be read"),
    "an unknown file": (DIFF.replace("mod.py", "none.py"), "none of the diff's files is in the source"),
    "one unknown file": (
        DIFF + DIFF.replace("mod.py", "none.py"),
        "a/pkg/none.py, which is not in the source",
    ),
    "a path that climbs out": (
        "--- /dev/null\n+++ b/../../evil.py\n@@ -0,0 +1 @@\n+x\n",
        "leads out of the source folder",
    ),
    "a file that exists": ("--- /dev/null\n+++ b/pkg/mod.py\n@@ -0,0 +1 @@\n+x\n", "exists already"),
    "beyond the end": (HEAD + "@@ -90,0 +91 @@\n+x\n", "it inserts at line 91, and the file has 8 lines"),
    "an end that is none": (
        HEAD + "@@ -1,2 +1,2 @@\n def f(x):\n-    a = 1\n\\ No newline at end of file\n+    a = 2\n",
        "ends here without a newline, and it does not",
    ),
    "only in one folder": ("Only in new/pkg: x.py\n", "diff -ruN"),
    "a removal of unknown lines": (
        "--- a/pkg/mod.py\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-def f(x):\n-    a = 1\n",
        "has lines that the diff does not know",
    ),
    "python as binary": ("Binary files a/pkg/mod.py and b/pkg/mod.py differ\n", "as a binary file"),
}


@pytest.mark.parametrize("title", BROKEN)
def test_a_broken_diff_says_what_is_wrong_with_it(title: str, source: Path, tmp_path: Path) -> None:
    text, message = BROKEN[title]
    path = tmp_path / "fix.patch"
    path.write_text(text)
    with pytest.raises(DiffError) as caught:
        examine_diff(path, source, name="fix")
    assert message in str(caught.value)
    assert "fix.patch" in caught.value.where


LONG = (
    "import os\n\n\ndef total(cart):\n    items = cart\n    found = 0\n    found += 1\n    return found\n\n\nlast = 1\n"
)
FUZZY = f"""\
{HEAD}@@ -4,7 +4,7 @@
 def total(cart):
     items = cart
     found = 0
-    found += 1
+    found += 2
     return found
{" "}
{" "}
"""


def fuzz(result: BuildResult) -> list[str]:
    return [finding.message for finding in result.changes if finding.code == "PLP229"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("def total(cart):", "def total(cart, rate):"), "1 line(s) at the start of its context and 1 at the end"),
        (("    items = cart", "    items = [cart]"), "2 line(s) at the start of its context and 2 at the end"),
        (("\n\n\nlast", "\n\nlast"), "1 line(s) at the start of its context and 1 at the end"),
    ],
)
def test_a_hunk_whose_outer_context_differs_applies_with_fuzz_and_is_told(
    source: Path, change: tuple[str, str], told: str
) -> None:
    text = LONG.replace(*change)
    (source / "pkg" / "mod.py").write_text(text)
    result = examine_diff(FUZZY, source, name="fix")
    assert result.patch is not None
    assert result.patch.modules[0].new_source == text.replace("found += 1", "found += 2")
    assert [told in message for message in fuzz(result)] == [True]
    assert [one.verdict for one in result.changes if one.code == "PLP229"] == ["applied-with-note"]


def test_an_exact_hunk_has_no_fuzz(source: Path) -> None:
    (source / "pkg" / "mod.py").write_text(LONG)
    assert fuzz(examine_diff(FUZZY, source, name="fix")) == []


@pytest.mark.parametrize(
    "text",
    [
        LONG.replace("found = 0", "found = 3"),  # the innermost line of the context
        LONG.replace("found += 1", "found += 3"),  # a line that is to go
        LONG.replace("total(cart)", "total(c)") + LONG.replace("total(cart)", "other(c)"),  # two places
    ],
)
def test_what_fuzz_cannot_place_in_one_way_is_an_error(source: Path, text: str) -> None:
    (source / "pkg" / "mod.py").write_text(text)
    with pytest.raises(DiffError, match="hunk 1 does not apply"):
        examine_diff(FUZZY, source, name="fix")


def test_hunks_behind_a_fuzzy_one_keep_count_of_lines(source: Path) -> None:
    text = LONG.replace("def total(cart):", "def total(cart, rate):")
    (source / "pkg" / "mod.py").write_text(text)
    result = examine_diff(FUZZY + "@@ -11 +11 @@\n-last = 1\n+last = 2\n", source, name="fix")
    assert result.patch is not None
    assert result.patch.modules[0].new_source == text.replace("+= 1", "+= 2").replace("last = 1", "last = 2")
    assert [one.code for one in result.changes if one.code == "PLP225"] == []


def test_a_change_of_mode_alone_is_no_change(source: Path) -> None:
    mode = "diff --git a/pkg/mod.py b/pkg/mod.py\nold mode 100644\nnew mode 100755\n"
    assert examine_diff(mode, source, name="fix").outcome == "unchanged"
    assert "return x + 1" in new_source(mode + DIFF, source)


def test_a_git_diff_of_a_deleted_file_takes_it_away(source: Path) -> None:
    head = "diff --git a/pkg/mod.py b/pkg/mod.py\ndeleted file mode 100644\nindex 1..0\n"
    body = "".join(difflib.unified_diff(OLD.splitlines(True), [], "a/pkg/mod.py", "/dev/null"))
    result = examine_diff(head + body, source, name="fix")
    assert [(one.code, one.file) for one in (*result.changes, *result.refusals)] == [("PLP222", "pkg/mod.py")]


def test_a_git_binary_patch_names_its_file(source: Path) -> None:
    (source / "pkg" / "logo.png").write_bytes(b"\x89PNG\0")
    diff = (
        "diff --git a/pkg/logo.png b/pkg/logo.png\nindex 1..2 100644\n"
        "GIT binary patch\nliteral 5\nMcmZQzU|?Wi000010RR91\n\nliteral 4\nLcmZQzU|;|M00aO5\n\n"
    )
    result = examine_diff(diff + DIFF, source, name="fix")
    assert [(one.code, one.file) for one in result.refusals] == [("PLP283", "pkg/logo.png")]


def test_lines_that_stand_in_several_places_are_not_guessed(source: Path) -> None:
    (source / "pkg" / "mod.py").write_text("# x\n" + "def f():\n    return 1\n" * 3)
    diff = HEAD + "@@ -1,2 +1,2 @@\n def f():\n-    return 1\n+    return 2\n"
    with pytest.raises(DiffError, match=r"several places \(lines 2, 4, 6\)"):
        examine_diff(diff, source, name="fix")


def test_a_misfit_gives_its_place_as_data(source: Path) -> None:
    with pytest.raises(DiffError) as caught:
        examine_diff(DIFF.replace("b = 2", "b = 3"), source, name="fix")
    assert caught.value.details == {"file": "pkg/mod.py", "hunk": 1, "line": 1, "diff_line": 3}
