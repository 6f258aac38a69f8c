"""Bytes in a DICOM character set to text, without a warning or an exception on rubbish.

Source: DICOM PS3.3 C.12.1.1.2 (Specific Character Set, tables C.12-2 to C.12-5) and PS3.5 6.1
(ISO 2022 code extensions).
"""

from __future__ import annotations

_ESCAPE = b"\x1b"
_FALLBACK = "latin_1"
_CODECS = {
    "ISO_IR 13": "shift_jis",
    "ISO_IR 100": "latin_1",
    "ISO_IR 101": "iso8859_2",
    "ISO_IR 109": "iso8859_3",
    "ISO_IR 110": "iso8859_4",
    "ISO_IR 126": "iso8859_7",
    "ISO_IR 127": "iso8859_6",
    "ISO_IR 138": "iso8859_8",
    "ISO_IR 144": "iso8859_5",
    "ISO_IR 148": "iso8859_9",
    "ISO_IR 166": "iso8859_11",
    "ISO_IR 203": "iso8859_15",
    "ISO_IR 192": "utf_8",
    "ISO 2022 IR 87": "iso2022_jp",
    "ISO 2022 IR 159": "iso2022_jp_2",
    "ISO 2022 IR 149": "euc_kr",
    "ISO 2022 IR 58": "gb2312",
    "GB18030": "gb18030",
    "GBK": "gbk",
}
# What an escape sequence, less its first byte, switches to.
_SWITCHES = {
    b"(B": "latin_1",
    b"(J": "shift_jis",
    b")I": "shift_jis",
    b"-A": "latin_1",
    b"-B": "iso8859_2",
    b"-C": "iso8859_3",
    b"-D": "iso8859_4",
    b"-F": "iso8859_7",
    b"-G": "iso8859_6",
    b"-H": "iso8859_8",
    b"-L": "iso8859_5",
    b"-M": "iso8859_9",
    b"-T": "iso8859_11",
    b"-b": "iso8859_15",
    b"$B": "iso2022_jp",
    b"$(D": "iso2022_jp_2",
    b"$)C": "euc_kr",
    b"$)A": "gb2312",
}
# Python's codecs of these two read the escape sequence themselves.
_SELF_ESCAPING = frozenset({"iso2022_jp", "iso2022_jp_2"})
_CONTROLS = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)))


def codec_named(terms: bytes) -> str:
    """Return Python's name of the first character set in Specific Character Set (0008,0005).

    The first value is the one in force until an escape sequence changes it. A term that DICOM
    does not define is read as Latin-1, which can represent any byte.
    """
    first = terms.split(b"\\", 1)[0].decode("ascii", "replace").strip("\0 ")
    if first not in _CODECS:
        first = first.replace("ISO 2022 IR", "ISO_IR")
    return _CODECS.get(first, _FALLBACK)


def decode(raw: bytes, codec: str) -> str:
    """Decode a text value; bytes with no meaning become U+FFFD, control characters go."""
    if _ESCAPE not in raw:
        text = raw.decode(codec, "replace")
    else:
        first, *rest = raw.split(_ESCAPE)
        text = first.decode(codec, "replace")
        text += "".join(_after_escape(part, codec) for part in rest)
    return text.translate(_CONTROLS).strip()


def _after_escape(part: bytes, codec: str) -> str:
    for length in (3, 2):
        switched = _SWITCHES.get(part[:length])
        if switched in _SELF_ESCAPING:
            return (_ESCAPE + part).decode(switched, "replace")
        if switched is not None:
            return part[length:].decode(switched, "replace")
    return part.decode(codec, "replace")
