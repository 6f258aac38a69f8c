"""A study's page: its images, what was found in them and why, and its earlier studies.

What the browser fetches:

===================================== ==========================================================
``/study/N/image/INSTANCE/FRAME``     packed pixels (`frames.pack`), facts in ``X-Frame``
``/study/N/heat/INSTANCE/FRAME/CODE`` one byte a place, rows and columns in ``X-Heat``
``/study/N/pictures``                 which images there are, as JSON: for a prior beside the study
===================================== ==========================================================
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edge.alerts.message import Alert
from edge.console import words
from edge.console.accounts import CLINICAL
from edge.console.cards import Card, person_name
from edge.console.decoder_link import Undecodable
from edge.console.language import Language
from edge.console.pictures import PictureSeries
from edge.console.visits import Visit, page
from edge.console.words import _
from edge.store.heatmaps import KeptHeatmap
from edge.store.study_key import SealBroken

# Level and width in HU, as radiology departments use them for CT.
PRESETS = {
    "CT": (
        (_("Brain"), 40, 80),
        (_("Subdural"), 75, 215),
        (_("Stroke"), 35, 35),
        (_("Bone"), 600, 2800),
        (_("Lung"), -600, 1500),
        (_("Soft tissue"), 40, 400),
    )
}


def routes() -> list[Route]:
    """Return the routes of this room. Images are for those who care for patients."""
    return [
        page("/study/{study:int}", _show),
        page("/study/{study:int}/pictures", _pictures, roles=CLINICAL),
        page("/study/{study:int}/image/{instance:int}/{frame:int}", _image, roles=CLINICAL),
        page("/study/{study:int}/heat/{instance:int}/{frame:int}/{code}", _heat, roles=CLINICAL),
        page("/model/{name}", _model),
    ]


def _show(visit: Visit) -> Response:
    try:
        return _page(visit, visit.number("study"))
    except SealBroken:
        return visit.refuse(
            500,
            "This study is damaged on the disk",
            "Nobody can read it here. An administrator can erase it; then have it sent again.",
        )


def _page(visit: Visit, study: int) -> Response:
    card = _card(visit, study)
    if card is None:
        return visit.refuse(
            404, "There is no such study", "Go back to the board and open it there."
        )
    if card.erased:
        return visit.refuse(
            410,
            "This study was erased",
            "Its images and what was said of it are gone. The audit says who erased it and why.",
        )
    visit.desk.note(visit.user, "study.viewed", f"study:{study}")
    clinical = visit.user.clinical
    if clinical:
        visit.desk.pictures.warm()  # the decoder starts while the page is made
    identity = visit.desk.history.identity(study) if clinical else {}
    return visit.render(
        "study.html",
        card=card,
        words=words,
        identity=identity,
        name=person_name(identity.get("name", "")),
        alerts=list(reversed(visit.desk.history.alerts(study))),
        priors=visit.desk.history.priors(study),
        pictures=_manifest(visit, study, card) if clinical else None,
        may_acknowledge=clinical and visit.desk.training.may_acknowledge(visit.user),
        weak=visit.desk.weak,
        kept_until=visit.desk.keeping.until(time.time()).get(study),
        kept_for_room=visit.desk.keeping.rule.bytes is not None,
    )


def _pictures(visit: Visit) -> Response:
    study = visit.number("study")
    card = _card(visit, study)
    if card is None or card.erased:
        return JSONResponse({"problem": visit.language.say("There is no such study")}, 404)
    visit.desk.note(visit.user, "study.viewed", f"study:{study}", "as a prior")
    return JSONResponse(_manifest(visit, study, card))


def _image(visit: Visit) -> Response:
    study, instance, frame = (visit.number(name) for name in ("study", "instance", "frame"))
    try:
        decoded = visit.desk.pictures.frame(study, instance, frame)
    except Undecodable as error:
        return JSONResponse({"problem": visit.language.say(str(error))}, 404)
    headers = {"X-Frame": decoded.facts, "Content-Encoding": "gzip"}
    return Response(decoded.packed, media_type="application/octet-stream", headers=headers)


def _heat(visit: Visit) -> Response:
    place = (visit.number("instance"), visit.number("frame"), visit.request.path_params["code"])
    for one in visit.desk.pictures.heatmaps(visit.number("study")):
        if (one.instance, one.frame, one.finding) == place:
            rows, columns = one.values.shape
            headers = {"X-Heat": json.dumps({"rows": rows, "columns": columns})}
            values = one.values.tobytes()
            return Response(values, media_type="application/octet-stream", headers=headers)
    return JSONResponse({"problem": visit.language.say("There is no such page")}, 404)


def _model(visit: Visit) -> Response:
    name = visit.request.path_params["name"]
    package = next((one for one in visit.desk.packages if one.name == name), None)
    if package is None:
        return visit.refuse(
            404, "This model is not here any more", "The alert names its version and digest."
        )
    return visit.render("model.html", package=package)


def _card(visit: Visit, study: int) -> Card | None:
    """Return a study's card: the board's, or an older one's from the journal."""
    return visit.desk.board.card(study) or visit.desk.history.card(study)


def _manifest(visit: Visit, study: int, card: Card) -> dict[str, Any]:
    """Return which images a study has, for the viewer."""
    series = visit.desk.pictures.series(study)
    heat = visit.desk.pictures.heatmaps(study)
    speaking = card.standing or card.alert
    return {
        "study": study,
        "title": f"{card.arrived.modality} {card.arrived.body_part}".strip(),
        "taken": visit.language.moment(card.arrived.first_byte),
        "series": [_series(one, visit.language) for one in series],
        "keys": [
            *_keys(speaking, series, visit.language),
            *_changes(speaking, heat, visit.language),
        ],
        "heat": [[one.instance, one.frame, one.finding] for one in heat],
    }


def _series(one: PictureSeries, speak: Language) -> dict[str, Any]:
    title = " · ".join(part for part in (one.modality, one.body_part, one.description) if part)
    presets = PRESETS.get(one.modality, ())
    return {
        "series": one.series,
        "title": title,
        "modality": one.modality,
        "pictures": [[picture.instance, picture.position] for picture in one.pictures],
        "presets": [[speak.say(name), level, width] for name, level, width in presets],
    }


def _keys(
    alert: Alert | None, series: tuple[PictureSeries, ...], speak: Language
) -> list[dict[str, Any]]:
    """Return the key images: which picture carries most of which finding, flagged ones first."""
    if alert is None:
        return []
    by_uid = {picture.uid: picture.instance for one in series for picture in one.pictures}
    findings = sorted(alert.findings, key=lambda one: (not one.flagged, -one.probability))
    return [
        {
            "instance": by_uid[one.key_image_uid],
            "code": one.code.key,
            "label": speak.say(one.label),
            "flagged": one.flagged,
        }
        for one in findings
        if one.key_image_uid in by_uid
    ]


def _changes(
    alert: Alert | None, heat: Sequence[KeptHeatmap], speak: Language
) -> list[dict[str, Any]]:
    """Return for each measurement with maps the picture that shows most of it."""
    keys = []
    for one in () if alert is None else alert.measurements:
        code = one.code.key
        maps = [held for held in heat if held.finding == code]
        if maps:
            most = max(maps, key=lambda held: int(np.count_nonzero(held.values)))
            keys.append(
                {
                    "instance": most.instance,
                    "code": code,
                    "label": speak.say(one.label),
                    "flagged": one.flagged,
                }
            )
    return keys
