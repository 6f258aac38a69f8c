"""Practice cases: images with a known truth, and one question about them.

    cases/NAME/case.toml    for whom, and in each language the question and its answer
    cases/NAME/truth.toml   what was drawn or is known, and what Scanside said
    cases/NAME/01.webp ...  the images in order, WebP, PNG or JPEG

Those that ship are drawn phantoms (`tools.practice` makes them). A site adds its own in a folder
of the same form; `Case.read` takes the pixels and nothing else of a picture, so that no comment,
no EXIF and no name in a file's header reaches a page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.training.content import ROLES, Choice, choice_of
from edge.training.texts import CourseError, Table, read_table

SHIPPED_CASES = Path(__file__).parent / "cases"
SAID = ("flagged", "not_flagged", "uncertain")
MAX_IMAGES, MAX_IMAGE_BYTES, MAX_PIXELS = 60, 4_000_000, 4_000_000
_SUFFIXES = frozenset({".webp", ".png", ".jpg", ".jpeg"})
_SIGNATURES = (b"RIFF", b"\x89PNG", b"\xff\xd8\xff")


@dataclass(frozen=True, slots=True)
class CaseWords:
    """A case in one language: its title, and the question with its answers."""

    title: str
    question: Choice


@dataclass(frozen=True, slots=True)
class Case:
    """A practice case.

    Parameters
    ----------
    id : str
        The folder's name.
    roles : frozenset of str
    source : str
        Where the images are from, such as the phantom and its seed.
    said : str
        What Scanside said: flagged, not_flagged or uncertain.
    score, threshold : int
        The model's score and its threshold, in per cent.
    model : str
        Name and version of the model that said so.
    shown_from, shown_to : int
        The images that show the finding, from 1; 0 and 0 where there is none.
    words : mapping of str to CaseWords
        By language.
    images : tuple of Path
    """

    id: str
    roles: frozenset[str]
    source: str
    said: str
    score: int
    threshold: int
    model: str
    shown_from: int
    shown_to: int
    words: Mapping[str, CaseWords]
    images: tuple[Path, ...]

    @classmethod
    def read(cls, folder: Path) -> Case:
        """Read and check a case.

        Raises
        ------
        CourseError
            Where it cannot be used; the text names file and key.
        """
        about, truth = read_table(folder / "case.toml"), read_table(folder / "truth.toml")
        images = tuple(sorted(file for file in folder.iterdir() if file.suffix in _SUFFIXES))
        if not 1 <= len(images) <= MAX_IMAGES:
            raise CourseError(f"{folder}: a case has 1 to {MAX_IMAGES} images, not {len(images)}.")
        shown_from = truth.number("shown_from", 0, len(images))
        case = cls(
            id=folder.name,
            roles=frozenset(about.choices("roles", ROLES)),
            source=truth.text("source"),
            said=truth.choice("said", SAID),
            score=truth.number("score", 0, 100),
            threshold=truth.number("threshold", 0, 100),
            model=truth.text("model"),
            shown_from=shown_from,
            shown_to=truth.number("shown_to", shown_from, len(images)),
            words={
                language: _words(about.table(language)) for language in about.texts("languages")
            },
            images=images,
        )
        about.nothing_else()
        truth.nothing_else()
        return case

    def wording(self, language: str) -> tuple[str, CaseWords]:
        """Return the language and the words, in the first language where this one is missing."""
        if language not in self.words:
            language = next(iter(self.words))
        return language, self.words[language]


def read_cases(*folders: Path) -> tuple[Case, ...]:
    """Read every case of the folders, by name; raises `CourseError` at the first bad one."""
    cases = [
        Case.read(one)
        for folder in folders
        for one in sorted(folder.iterdir())
        if (one / "case.toml").is_file()
    ]
    names = [case.id for case in cases]
    for name in names:
        if names.count(name) > 1:
            raise CourseError(f"Two cases are called {name}. Rename the folder of one of them.")
    return tuple(cases)


def picture(file: Path) -> bytes:
    """Return an image's pixels as a fresh grey PNG: nothing else of the file is kept.

    Raises
    ------
    CourseError
        When it is no image, or a very large one.
    """
    import cv2  # noqa: PLC0415 - 17 MB that an appliance nobody trains at can do without

    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_IMAGE_BYTES + 1)
    except OSError as error:
        raise CourseError(f"{file}: {error.strerror}.") from error
    # The signature first: OpenCV would try formats that nobody needs here.
    if len(data) > MAX_IMAGE_BYTES or not data.startswith(_SIGNATURES):
        raise CourseError(f"{file}: not a WebP, PNG or JPEG image of at most 4 MB.")
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if pixels is None or pixels.size > MAX_PIXELS:
        raise CourseError(f"{file}: the image cannot be read, or has more than 4 million pixels.")
    return cv2.imencode(".png", pixels)[1].tobytes()


def _words(table: Table) -> CaseWords:
    words = CaseWords(table.text("title"), choice_of(table.table("question")))
    table.nothing_else()
    return words
