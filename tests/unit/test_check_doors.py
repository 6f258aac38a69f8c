"""``scanside check`` says whether files and HTTP can bring images in, and what to do if not."""

from __future__ import annotations

from pathlib import Path

import pytest
from certificates import Authority

from edge.check import _folder, _web
from edge.config import Config, Folder, Storage, Web
from edge.grades import CheckResult, Grade

TOKEN = "0123456789abcdef0123456789abcdef"


def folder(path: Path) -> list[CheckResult]:
    config = Config(storage=Storage(folder=path.parent / "studies"), folder=Folder(path=path))
    return list(_folder(config))


def web(**settings: object) -> list[CheckResult]:
    return list(_web(Config(web=Web.model_validate({"enabled": True, **settings}))))


def test_a_folder_is_in_order_missing_or_has_refused_files(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    (missing,) = folder(inbox)
    assert (missing.grade, missing.text) == (
        Grade.BAD,
        f"{inbox} is no folder. Make it, or change [folder] path.",
    )
    (inbox / "refused").mkdir(parents=True)
    assert folder(inbox)[0].grade is Grade.GOOD
    (inbox / "refused" / "1.dcm.reason.txt").write_text("not-dicom", encoding="utf-8")
    (refused,) = folder(inbox)
    assert (refused.grade, refused.text) == (Grade.WARNING, f"{inbox}; 1 files were refused")


def test_what_is_switched_off_is_not_checked() -> None:
    assert list(_folder(Config())) == list(_web(Config())) == []


def test_the_web_door_needs_a_token_and_a_certificate_that_is_good(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("short", encoding="ascii")
    (short,) = web(token_file=token, tls=False)
    assert short.grade is Grade.BAD
    assert "openssl rand -hex 32" in short.text
    token.write_text(TOKEN, encoding="ascii")
    (plain,) = web(token_file=token, tls=False)
    assert (plain.grade, plain.advice) == (
        Grade.WARNING,
        "For loopback or behind a proxy only: set [web] tls = true.",
    )
    cert, key = Authority(tmp_path, "hospital").issue("scanside", hours=24 * 90)
    door, certificate = web(token_file=token, cert=cert, key=key)
    assert (door.grade, certificate.grade) == (Grade.GOOD, Grade.GOOD)
    (gone,) = web(token_file=token, cert=tmp_path / "none.pem", key=key)
    assert gone.grade is Grade.BAD


@pytest.mark.parametrize("settings", [{}, {"token_file": "/t"}, {"token_file": "/t", "cert": "/c"}])
def test_what_would_let_everybody_in_or_nobody_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="needs"):
        Web.model_validate({"enabled": True, **settings})
