"""``scanside check``: is this appliance in order? Each check says what it found and what to do."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

from edge.alerts.bell import Bell
from edge.alerts.broker import BrokerError, broker_settings
from edge.alerts.clock import clock_facts, judge_clock
from edge.alerts.connection import Connection, Session
from edge.alerts.follow_up import FollowUps
from edge.alerts.sealing import MAX_RECIPIENTS
from edge.config import Config, ConfigError, load_config
from edge.console import certificate as console
from edge.console.accounts import Accounts
from edge.console.database import FILE as CONSOLE_DATABASE
from edge.console.database import ConsoleDatabase, ConsoleDatabaseError
from edge.grades import CheckResult, Grade
from edge.intake.checking import check_dicom
from edge.intake.folder import REFUSED, FolderError, check_folder
from edge.intake.web import read_token
from edge.key_files import KeyFileError
from edge.keys import DeviceKeys, load_recipients
from edge.keys.checking import validity
from edge.keys.tls import read_certificate
from edge.packages import Found, Shelf, State
from edge.retention.checking import check_retention
from edge.store.documents import Documents, DocumentsError
from edge.store.journal import Journal, JournalError
from edge.store.outbox import Outbox
from engines import EngineError, ModelPackage, PackageError, serve
from engines.stack import Stack, stack_here


def check(file: Path) -> list[CheckResult]:
    """Run every check that can be run; later ones need the configuration to be readable."""
    try:
        config = load_config(file)
    except ConfigError as error:
        return [CheckResult("configuration", Grade.BAD, str(error))]
    results = [CheckResult("configuration", Grade.GOOD, str(file))]
    checks: tuple[Callable[[Config], Iterator[CheckResult]], ...] = (
        _keys,
        _disk,
        _journal,
        check_retention,
        _gpu,
        _models,
        check_dicom,
        _folder,
        _web,
        _broker,
        _results,
        _console,
    )
    for one in checks:
        results.extend(one(config))
    return results


def _console(config: Config) -> Iterator[CheckResult]:
    if not config.console.enabled:
        yield CheckResult("console", Grade.GOOD, "switched off")
        return
    yield from _console_certificate(config)
    accounts = 0
    if (config.storage.folder / CONSOLE_DATABASE).exists():
        try:
            with closing(ConsoleDatabase(config.storage.folder)) as database:
                accounts = len(Accounts(database).all())
        except ConsoleDatabaseError as error:
            yield CheckResult("console accounts", Grade.BAD, str(error))
            return
    if accounts:
        yield CheckResult("console accounts", Grade.GOOD, str(accounts))
    else:
        yield CheckResult(
            "console accounts",
            Grade.WARNING,
            "none: nobody can log in",
            "Make one with: scanside users add NAME --role admin",
        )


def _console_certificate(config: Config) -> Iterator[CheckResult]:
    settings = config.console
    if not settings.tls:
        yield CheckResult(
            "console",
            Grade.GOOD if settings.behind_https else Grade.WARNING,
            f"{settings.host}:{settings.port} without TLS",
            "" if settings.behind_https else "For loopback only: set [console] tls = true.",
        )
        return
    try:
        certificate = console.present_certificate(config)
    except console.CertificateError as error:
        yield CheckResult("console", Grade.BAD, str(error))
        return
    if certificate is None:
        text = "its certificate is made when `scanside run` first starts"
        yield CheckResult("console", Grade.GOOD, text)
        return
    left = (certificate.expires - datetime.now(timezone.utc)).days
    grade = Grade.BAD if left < 0 else Grade.WARNING if left < 14 else Grade.GOOD
    yield CheckResult(
        "console",
        grade,
        f"certificate {certificate.fingerprint}, {left} days left",
        "" if grade is Grade.GOOD else "Renew it; one of the device's own is renewed at a start.",
    )


def _keys(config: Config) -> Iterator[CheckResult]:
    try:
        keys = DeviceKeys.load(config.storage.keys)
        recipients = load_recipients(config.storage.keys)
    except KeyFileError as error:
        advice = "Make them once with: scanside keys init"
        yield CheckResult("keys", Grade.BAD, str(error), advice)
        return
    try:
        config.check_names(keys.device, keys.site)
    except ConfigError as error:
        yield CheckResult("keys", Grade.BAD, str(error))
        return
    yield CheckResult("keys", Grade.GOOD, f"device {keys.device} at site {keys.site}")
    if len(recipients) >= MAX_RECIPIENTS:
        yield CheckResult(
            "recipients",
            Grade.BAD,
            f"{len(recipients)} servers; an alert is sealed for {MAX_RECIPIENTS - 1} at most",
            f"Remove files from {config.storage.keys}/recipients.",
        )
    elif recipients:
        names = ", ".join(one.owner for one in recipients)
        yield CheckResult("recipients", Grade.GOOD, names)
    else:
        yield CheckResult(
            "recipients",
            Grade.WARNING,
            "no central server can read the alerts",
            "Add one with: scanside keys add-recipient central.public.json",
        )


def _disk(config: Config) -> Iterator[CheckResult]:
    folder = config.storage.folder
    place = next(one for one in (folder, *folder.parents) if one.exists())
    if not os.access(place, os.W_OK):
        advice = "Run as the user of the service."
        if place != folder:
            advice = f"Make {folder} and give it to the user of the service."
        yield CheckResult("disk", Grade.BAD, f"{place} cannot be written", advice)
        return
    free = shutil.disk_usage(place).free // 1_000_000
    reserve = config.storage.reserve_mb
    grade = Grade.BAD if free < reserve else Grade.WARNING if free < 4 * reserve else Grade.GOOD
    advice = "" if grade is Grade.GOOD else "New images are refused below the reserve: make room."
    yield CheckResult(
        "disk", grade, f"{free} MB free in {place}, {reserve} MB of it in reserve", advice
    )


def _journal(config: Config) -> Iterator[CheckResult]:
    file = config.storage.folder / "journal.db"
    if not file.exists():
        yield CheckResult("journal", Grade.GOOD, "none yet; the first start makes it")
        return
    try:
        with closing(Journal(file, read_only=True)) as journal:
            backlog = Outbox(journal).backlog()
            clock = clock_facts(journal)
    except JournalError as error:
        yield CheckResult("journal", Grade.BAD, str(error))
        return
    yield CheckResult("journal", Grade.GOOD, f"{backlog} alerts wait for the broker")
    yield judge_clock(clock, time.time())


def _models(config: Config) -> Iterator[CheckResult]:
    shelf = Shelf.of(config)
    try:
        found = shelf.look()
    except OSError as error:
        yield CheckResult("models", Grade.BAD, str(error))
        return
    if not any(one.package for one in found):
        yield CheckResult(
            "models", Grade.WARNING, "none", "Every study will be told of as not analysed."
        )
    for one in found:
        yield _model(one, shelf, config.analysis.threads)
    if config.alerts.follow_up is not None:
        packages = [one.package for one in found if one.package]
        yield from _follow_up(config.alerts.follow_up, packages)


def _follow_up(file: Path, packages: Sequence[ModelPackage]) -> Iterator[CheckResult]:
    name = "follow-up"
    try:
        codes = FollowUps.read(file).codes
    except ConfigError as error:
        yield CheckResult(name, Grade.BAD, str(error))
        return
    stated = {spec.code.key for one in packages for spec in one.findings}
    stated |= {spec.code.key for one in packages for spec in one.volumes}
    text = f"a next look for {len(codes & stated)} of {len(stated)} findings"
    if unknown := sorted(codes - stated):
        advice = f"No model states {', '.join(unknown)}. `scanside models show` prints the codes."
        yield CheckResult(name, Grade.WARNING, text, advice)
        return
    yield CheckResult(name, Grade.GOOD, text)


def _model(found: Found, shelf: Shelf, threads: int) -> CheckResult:
    name = f"model {found.name}"
    if found.state is State.DRAFT:
        advice = "It does not serve until it is filled in."
        return CheckResult(name, Grade.WARNING, found.problem, advice)
    if found.state is State.BROKEN:
        return CheckResult(name, Grade.BAD, found.problem)
    try:
        serving = serve(found.folder, shelf.store, threads=threads)
    except (EngineError, PackageError) as error:
        return CheckResult(name, Grade.BAD, str(error))
    with closing(serving.engine) as engine:
        text = (
            f"{serving.package.version}, {engine.name} {engine.precision}, off by "
            f"{serving.parity.worst:.1e} from the reference (up to "
            f"{serving.parity.tolerance:.1e} is allowed)"
        )
    grade = Grade.WARNING if serving.notes else Grade.GOOD
    return CheckResult(name, grade, text, " ".join(serving.notes))


def _gpu(_: Config) -> Iterator[CheckResult]:
    yield accelerator(stack_here())


def accelerator(stack: Stack) -> CheckResult:
    """Say what runs models here, and what is missing where that is not the GPU."""
    gpu, runtimes = stack.gpu, ", ".join(stack.runtimes)
    if gpu is None:
        if stack.jetson:
            text = "this is a Jetson, and its GPU does not answer this user"
            advice = (
                "Ask as the service's user, who must be in the groups video and render (id "
                "scanside); docs/install.md says what else it can be."
            )
            return CheckResult("gpu", Grade.WARNING, text, advice)
        builds = f"; {runtimes} can build engines here" if runtimes else ""
        return CheckResult("gpu", Grade.GOOD, f"none: models run on the processor{builds}")
    name = f"{gpu.name} ({gpu.capability})"
    if stack.whole:
        return CheckResult("gpu", Grade.GOOD, f"{name}, {runtimes}, pycuda {stack.pycuda}")
    missing = stack.problems if not stack.runtimes else stack.problems[-1:]
    text = f"{name} is not used, models run on the processor: {'; '.join(missing)}"
    advice = "Type: tools/setup.sh run --gpu; it says what must be installed first."
    return CheckResult("gpu", Grade.WARNING, text, advice)


def _folder(config: Config) -> Iterator[CheckResult]:
    watched = config.folder.path
    if watched is None:
        return
    try:
        check_folder(watched, config.storage.folder)
    except FolderError as error:
        yield CheckResult("folder", Grade.BAD, str(error))
        return
    aside = watched / REFUSED
    refused = len(list(aside.glob("*.reason.txt"))) if aside.is_dir() else 0
    if refused:
        text, advice = f"{watched}; {refused} files were refused", f"The reasons are in {aside}."
        yield CheckResult("folder", Grade.WARNING, text, advice)
    else:
        yield CheckResult("folder", Grade.GOOD, f"files are taken in from {watched}")


def _web(config: Config) -> Iterator[CheckResult]:
    settings = config.web
    if not settings.enabled:
        return
    where = f"STOW-RS on {settings.host}:{settings.port}"
    try:
        read_token(settings.token_file)
    except ConfigError as error:
        yield CheckResult("dicomweb", Grade.BAD, str(error))
        return
    if settings.tls and settings.cert is not None and settings.key is not None:
        try:
            certificate = read_certificate(settings.cert)
        except KeyFileError as error:
            yield CheckResult("dicomweb", Grade.BAD, str(error))
            return
        yield CheckResult("dicomweb", Grade.GOOD, where)
        yield validity("dicomweb certificate", certificate, "Put a new one at [web] cert.")
        return
    advice = "For loopback or behind a proxy only: set [web] tls = true."
    yield CheckResult("dicomweb", Grade.WARNING, f"{where} without TLS", advice)


def _broker(config: Config) -> Iterator[CheckResult]:
    client_id = f"scanside-check-{os.getpid()}"
    settings = broker_settings(config.broker, client_id, config.storage.keys)
    if settings.tls is not None and settings.tls.cert is not None:
        yield _certificate(settings.tls.cert)
    where = f"{settings.host}:{settings.port}"
    bell = Bell()
    try:
        connection = Connection(settings, Session())
        connection.open(bell, lambda: False)
        connection.close(bell, timeout_s=2.0)
    except BrokerError as error:
        yield CheckResult(
            "broker",
            Grade.WARNING,
            str(error),
            "Alerts wait on the disk until it answers; check [broker].",
        )
    else:
        clear = "" if config.broker.tls else ", without TLS"
        yield CheckResult("broker", Grade.GOOD, f"{where} answers{clear}")
    finally:
        bell.close()


def _results(config: Config) -> Iterator[CheckResult]:
    if not config.results.enabled:
        yield CheckResult("results", Grade.GOOD, "not sent to a PACS")
        return
    from edge.results.pacs import Pacs, PacsAway  # noqa: PLC0415 - slow to import

    pacs = Pacs(config.results, config.dicom.ae_title)
    clear = "" if config.results.tls else ", without TLS"
    try:
        pacs.echo()
    except PacsAway as error:
        advice = "Results wait on the disk until it takes them; check [results]."
        yield CheckResult("results", Grade.WARNING, str(error), advice)
    else:
        yield CheckResult("results", Grade.GOOD, f"{pacs} answers{clear}")
    if config.results.cert is not None:
        yield _certificate(config.results.cert)
    yield from _documents(config)


def _documents(config: Config) -> Iterator[CheckResult]:
    file = config.storage.folder / "journal.db"
    if not file.exists():
        return
    try:
        with closing(Journal(file, read_only=True)) as journal:
            standing = Documents(journal).standing()
    except (JournalError, DocumentsError):
        return  # the check of the journal says so
    text = f"{standing.waiting} wait, {standing.refused} refused, {standing.stored} in the PACS"
    advice = "See why: scanside results list" if standing.refused else ""
    grade = Grade.WARNING if standing.refused else Grade.GOOD
    yield CheckResult("results sent", grade, text, advice)


def _certificate(file: Path) -> CheckResult:
    """Say how long our certificate for the broker is still good."""
    try:
        certificate = read_certificate(file)
    except KeyFileError as error:
        return CheckResult("certificate", Grade.BAD, str(error))
    advice = "Renew it: scanside keys csr --new-key, have it signed, scanside keys install-cert"
    return validity("certificate", certificate, advice)
