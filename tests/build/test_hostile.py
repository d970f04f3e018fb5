"""Source that nobody would write, or that is broken: built, refused or a clear error, and in bounded time."""

from __future__ import annotations

import pytest

from pylivepatch.build.builder import examine_files
from pylivepatch.build.tree import arrange
from pylivepatch.compiled import compile_patch
from pylivepatch.errors import SourceError

PLAIN = b"def f(): return 0\n"

ERRORS = {
    # title: source, what the error says
    "a null byte": (b"def f(): return 1\n\0", "null byte"),
    "UTF-16": ("def f(): return 1\n".encode("utf-16"), "null byte"),
    "Latin-1 without a cookie": ("x = 'é'\n".encode("latin-1"), "coding is unknown or wrong|not utf-8"),
    "a coding that nobody knows": (b"# coding: klingon\nx = 1\n", "coding is unknown"),
    "a coding that is no text's": (b"# coding: hex\nk = 1\n", "coding is unknown"),
    "a coding that decodes nothing": (b"# coding: undefined\nk = 1\n", "coding is unknown"),
    "two codings": (b"\xef\xbb\xbf# coding: latin-1\nk = 1\n", "coding is unknown"),
    "half a surrogate": (b"k = '\xed\xa0\x80'\n", "coding is unknown or wrong|not utf-8"),
    "brackets without an end": (b"x = " + b"[" * 100_000, "parse|nested"),
    "a hundred thousand signs": (b"x = " + b"-" * 100_000 + b"1", "parse|nested|deep"),
    "indented for ever": (b"".join(b" " * i + b"if 1:\n" for i in range(120)) + b" " * 120 + b"pass\n", "parse"),
    "an integer of 5,000 digits": (b"k = " + b"9" * 5000 + b"\n", "parse"),
    "one with a base": (b"k = 0x" + b"f" * 100_000 + b"\n", "thousands of digits"),
    "one in a function": (b"def f():\n    return 0b" + b"1" * 100_000 + b"\n", "thousands of digits"),
    "tabs among spaces": (b"def f():\n\tif 1:\n        return 1\n", "parse"),
    "no end of a text": (b"k = '''abc\n", "parse"),
    "a parameter twice": (b"def f(a, a): return 1\n", "compile|parse"),
}

ODD = {
    # title: source that is Python; an edit of it is found, whatever becomes of it
    "a byte order mark": b"\xef\xbb\xbfdef f(): return 1\n",
    "carriage returns": b"def f():\r    return 1\r",
    "all line ends": b"def f():\r\n    a = '''x\r\ny'''\r    return 1\n",
    "form feeds": b"\x0cdef f():\n\x0c    return 1\n\x0c",
    "line ends of other standards": "k = 'a\x85b\u2028c\x1c'\ndef f(): return 1\n".encode(),
    "Latin-1": "# -*- coding: latin-1 -*-\nx = 'é'\ndef f(): return 1\n".encode("latin-1"),
    "a surrogate as an escape": b"k = '\\ud800'\ndef f(a='\\udfff', b: '\\udc80' = 1): return 1\n",
    "letters that are the same": "ﬁle = 1\ndef ﬁ(): return ﬁle\ndef f(): return 1\n".encode(),
    "deep lists": b"x = " + b"[" * 90 + b"]" * 90 + b"\ndef f(): return 1\n",
    "a long sum": b"x = " + b"+".join([b"1"] * 900) + b"\ndef f(): return 1\n",
    "a chain of attributes": b"def f(a): return a" + b".b" * 200 + b"\ndef g(): return 1\n",
    "functions in functions": b"".join(b" " * i + b"def f%d():\n" % i for i in range(60)) + b" " * 60 + b"return 1\n",
    "a long line": b"def f(a): return 1 if a" + b" or a" * 1_000 + b" else 2\n",
    "powers that would fill the memory": b"k = 9 ** 9 ** 9\ndef f(a=2 ** 2 ** 40): return 1\n",
    "texts that would": b"k = 'a' * 10 ** 10\nj = (0,) * 10 ** 9\ndef f(): return 1\n",
    "calls that would": b"k = bytes(10 ** 10)\nj = list(range(10 ** 10))\ndef f(): return 1\n",
    "ten megabytes of a comment": b"def f(): return 1\n#" + b"x" * 10_000_000 + b"\n",
    "ten megabytes of a text": b"k = '" + b"x" * 10_000_000 + b"'\ndef f(): return 1\n",
    "one name hundreds of times": b"def f(): return 1\n" * 100 + b"k = 1\n" * 300,
}


@pytest.mark.parametrize("title", ERRORS)
def test_what_cannot_be_read_is_a_clear_error(title: str) -> None:
    source, said = ERRORS[title]
    for old, new in ((PLAIN, source), (source, PLAIN)):
        with pytest.raises(SourceError, match=said) as caught:
            examine_files(arrange({"mod.py": old}), arrange({"mod.py": new}), name="fix")
        assert "where: mod.py:" in str(caught.value)


@pytest.mark.parametrize("title", ERRORS)
def test_what_cannot_be_read_and_did_not_change_is_not_looked_at(title: str) -> None:
    source, _ = ERRORS[title]
    old, new = ({"odd.py": source, "mod.py": text} for text in (PLAIN, PLAIN.replace(b"0", b"1")))
    assert examine_files(arrange(old), arrange(new), name="fix").outcome == "built"


@pytest.mark.parametrize("title", ODD)
def test_what_is_odd_and_can_be_read_is_compared(title: str) -> None:
    source = ODD[title]
    edited = source.replace(b"return 1", b"return 3")
    assert edited != source
    assert examine_files(arrange({"mod.py": source}), arrange({"mod.py": source}), name="fix").outcome == "unchanged"
    result = examine_files(arrange({"mod.py": source}), arrange({"mod.py": edited}), name="fix")
    assert result.changes or result.refusals
    if result.patch is not None:
        compile_patch(result.patch)


@pytest.mark.slow
@pytest.mark.parametrize("line", ["def f{0}(): return {0}", "k{0} = {0}", "class C{0}: pass", "import a{0}"])
def test_a_hundred_thousand_definitions_end(line: str) -> None:
    """Of functions, and twenty thousand of what takes longer."""
    count = 100_000 if line.startswith("def") else 20_000
    source = "".join(line.format(number) + "\n" for number in range(count)).encode()
    result = examine_files(arrange({"mod.py": source}), arrange({"mod.py": source + PLAIN}), name="fix")
    assert [(one.code, one.symbol) for one in result.changes] == [("PLP211", "f")]
