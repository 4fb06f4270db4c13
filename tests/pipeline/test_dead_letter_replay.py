"""Dead letters in files by the commands, without environment and database."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from engine_runs import json_lines, run_to_the_end
from http_server import HttpServer, http_server
from waiting import eventually

from cht_sync.cli import main
from cht_sync.pipeline.contracts import Rejected
from cht_sync.pipeline.dead_letter import DeadLetterFile
from cht_sync.pipeline.dead_letters import file
from cht_sync.pipeline.dead_letters.line import Letter
from cht_sync.pipeline.dead_letters.redelivery import Outcome, Redelivery
from cht_sync.pipeline.dead_letters.turn import only_operator_of
from cht_sync.pipeline.monitor.metrics import InputMetrics

EVENT = '{"_id":"a","@timestamp":"2020-01-02T03:04:05.678Z","@version":"1","n":1}'
OUTPUT = 'http {{ id => "there" url => "{url}/%{{[@metadata][target]}}" http_method => "post" }}'
POSTGREST = (
    'http {{ id => "there" url => "{url}/medic" http_method => "post" format => "json_batch" '
    "position_headers => true }}"
)


class Engine:
    """One pipeline, `main`, whose output has refused some events."""

    def __init__(self, folder: Path, server: HttpServer) -> None:
        self.folder = folder
        self.server = server
        self.data = folder / "data"
        self.file = self.data / "dead_letter_queue" / "main.jsonl"
        self.config = folder / "own.conf"
        self.configure(OUTPUT)

    def configure(self, *outputs: str, filters: str = "") -> None:
        url = self.server.url.replace("http://", "http://user:secret@")
        text = "".join(one.format(url=url) for one in outputs)
        self.config.write_text(
            f"""
            input {{
              generator {{
                count => 1 codec => json
                lines => ['{{"_id":"d1","n":1}}', '{{"_id":"d2","n":2}}']
              }}
            }}
            filter {{
              mutate {{
                add_field => {{ "[@metadata][target]" => "x%{{n}}" "[@metadata][_id]" => "%{{_id}}" }}
              }}
              {filters}
            }}
            output {{ {text} }}
            """
        )

    def refuse(self, *answers: dict[str, Any]) -> list[str]:
        """Run the pipeline, whose server gives these answers; return the names of its letters."""
        self.server.answers = list(answers)
        run_to_the_end(self.folder, self.config.read_text())
        self.server.requests.clear()
        return [one["id"] for one in self.listed()]

    def run(self, *words: str, input: str | None = None) -> Result:
        command = ["dead-letters", *words, "--path.data", str(self.data)]
        return CliRunner().invoke(main, command, input=input, catch_exceptions=False)

    def replay(self, *words: str) -> Result:
        return self.run("replay", *words, "-f", str(self.config))

    def listed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run("list", "--json").stdout)
        return found

    @property
    def sent(self) -> list[tuple[str, Any]]:
        return [(one.target, json.loads(one.body)) for one in self.server.requests]


REFUSED = {"status": 400, "body": "no room: " + "x" * 5_000}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with http_server() as server:
        yield Engine(tmp_path, server)


def test_letters_are_listed_as_those_of_the_table_and_it_is_said_that_only_files_were_looked_at(
    engine: Engine,
) -> None:
    engine.refuse(REFUSED)
    answer = engine.run("list", "--json")
    assert answer.stderr.count("\n") == 1
    assert "Only files were looked at" in answer.stderr
    first, second = json.loads(answer.stdout)
    assert {"id", "database", "doc_id", "rev", "seq", "code", "reason", "at"} <= set(first)
    assert (first["doc_id"], first["code"], second["doc_id"]) == ("d1", "HTTP 400", "d2")
    assert (first["where"], first["pipeline"], first["output"]) == ("file", "main", "there")
    assert first["address"] == f"{engine.server.url}/%{{[@metadata][target]}}"
    assert first["id"].startswith("main:")
    table = engine.run("list").stdout
    assert [line.split()[0] for line in table.splitlines()] == ["id", first["id"], second["id"]]
    assert "secret" not in engine.file.read_text() + table


def test_letters_of_another_pipeline_or_database_are_left_out(engine: Engine) -> None:
    engine.refuse(REFUSED)
    DeadLetterFile(engine.data, "other").append([Rejected("o", None, None, "x", "y", EVENT)])
    found = json.loads(engine.run("list", "--json", "--database", "other").stdout)
    assert [one["doc_id"] for one in found] == ["o"]
    assert len(json.loads(engine.run("list", "--json", "--database", "main").stdout)) == 2


def test_a_letter_is_shown_with_its_whole_event_and_the_servers_words(engine: Engine) -> None:
    name = engine.refuse(REFUSED)[0]
    shown = json.loads(engine.run("show", name).stdout)
    assert shown["id"] == name
    assert shown["event"]["n"] == 1
    assert shown["event"]["@metadata"]["target"] == "x1"
    assert shown["status"] == 400
    assert shown["response"].startswith("no room: xxx")
    assert shown["response"].endswith("x (cut at 2000 bytes)")
    assert len(shown["reason"]) == 300
    assert shown["path"] == str(engine.file)


def test_a_letter_is_delivered_as_it_is_through_its_output_and_leaves_the_file(engine: Engine) -> None:
    first, second = engine.refuse(REFUSED)
    engine.server.answers = [{"status": 200}]
    engine.configure(OUTPUT, filters="drop { }")
    answer = engine.replay(first)
    assert (answer.exit_code, answer.stdout) == (0, f"{first}: delivered\n")
    ((target, event),) = engine.sent
    assert (target, event["_id"], event["n"], "@metadata" in event) == ("/x1", "d1", 1, False)
    assert [one["id"] for one in engine.listed()] == [second]
    again = engine.replay(first)
    assert again.exit_code == 1
    assert f"there is no dead letter {first}" in again.stderr


def test_what_is_refused_again_stays_with_the_new_reason_and_makes_no_new_letter(engine: Engine) -> None:
    first, second = engine.refuse(REFUSED)
    engine.server.answers = [{"status": 422, "body": "no such field"}, {"status": 200}]
    answer = engine.replay("--all")
    assert answer.exit_code == 1
    assert answer.stdout == (f"{first}: is refused again: HTTP 422: no such field\n{second}: delivered\n")
    (letter,) = engine.listed()
    assert (letter["id"], letter["code"], letter["reason"]) == (first, "HTTP 422", "no such field")
    shown = json.loads(engine.run("show", first).stdout)
    assert (shown["status"], shown["response"], shown["event"]["n"]) == (422, "no such field", 1)
    assert shown["replayed_at"] > shown["at"]
    assert answer.stderr.count("\n") == 1


def test_an_output_that_does_not_answer_is_waited_for_once_and_keeps_its_letters(engine: Engine) -> None:
    first, second = engine.refuse(REFUSED)
    engine.server.answers = [{"status": 503}]
    before = engine.file.read_bytes()
    answer = engine.replay("--all", "--timeout", "0.3")
    assert answer.exit_code == 1
    assert f"{first}: was not delivered: there takes nothing now (the server answered 503)" in answer.stdout
    assert f"{second}: was not tried: there takes nothing now" in answer.stdout
    assert engine.file.read_bytes() == before


@pytest.mark.parametrize(
    ("outputs", "words", "problem"),
    [
        (("null {{ }}",), [], "needs the output there, which the configuration does not have"),
        (('pipeline {{ id => "there" send_to => "x" }}',), [], "hands it to another pipeline"),
        ((OUTPUT,), ["--output", "nowhere"], "needs the output nowhere"),
        ((POSTGREST,), [], "was refused by PostgREST"),
    ],
)
def test_a_letter_goes_to_no_other_output_by_itself(
    engine: Engine, outputs: tuple[str, ...], words: list[str], problem: str
) -> None:
    first, _second = engine.refuse(REFUSED)
    engine.configure(*outputs)
    answer = engine.replay(first, *words)
    assert answer.exit_code == 1
    assert problem in answer.stdout
    assert len(engine.listed()) == 2


def test_a_letter_can_be_given_to_an_output_that_is_named(engine: Engine) -> None:
    first, _second = engine.refuse(REFUSED)
    out = engine.folder / "out.jsonl"
    engine.configure(OUTPUT, f'file {{{{ id => "archive" path => "{out}" }}}}')
    assert engine.replay(first, "--output", "archive").exit_code == 0
    assert [one["n"] for one in json_lines(out)] == [1]
    assert len(engine.listed()) == 1


def test_an_output_known_by_its_place_only_is_not_taken_for_another_one(engine: Engine) -> None:
    without_id = OUTPUT.replace('id => "there" ', "")
    engine.configure(without_id)
    first, _second = engine.refuse(REFUSED)
    engine.configure(without_id.replace("/%{{", "/elsewhere/%{{"))
    engine.server.answers = [{"status": 200}]
    answer = engine.replay(first)
    assert answer.exit_code == 1
    assert "if that shall have it say: --output output_http_1" in answer.stdout
    assert engine.replay(first, "--output", "output_http_1").exit_code == 0
    assert [target for target, _event in engine.sent] == ["/elsewhere/x1"]


def test_letters_of_the_version_before_are_delivered_where_one_output_can_have_refused_them(
    engine: Engine,
) -> None:
    engine.file.parent.mkdir(parents=True)
    line = {"at": "2026-11-01T00:00:00+00:00", "document_id": "a", "code": "HTTP 400", "reason": "no"}
    engine.file.write_text(json.dumps({**line, "document": EVENT}) + "\n")
    ((name, at),) = [(one["id"], one["at"]) for one in engine.listed()]
    assert (name.startswith("main:old-"), at) == (True, "2026-11-01T00:00:00+00:00")
    engine.configure('http {{ url => "{url}" http_method => "post" }}', "null {{ }}")
    answer = engine.replay(name)
    assert (answer.exit_code, answer.stdout) == (0, f"{name}: delivered\n")
    assert engine.sent == [("/", json.loads(EVENT))]
    assert engine.listed() == []
    engine.file.write_text(json.dumps({**line, "document": EVENT}) + "\n")
    engine.configure(*['http {{ url => "{url}" http_method => "post" }}'] * 2)
    assert "does not say which output refused it" in engine.replay(name).stdout


def test_what_never_was_an_event_cannot_be_delivered_and_says_so(engine: Engine) -> None:
    broken = DeadLetterFile(engine.data, "main")
    metrics = InputMetrics("input", "couchdb_changes", "in")
    metrics.source = "host/medic"
    broken.append([Rejected("a", None, "7-x", "malformed", "no JSON", "{no")], metrics)
    broken.append([Rejected("a", None, "7-x", "x", "y", "{no")])
    (by_input, unreadable) = engine.listed()
    assert (by_input["database"], by_input["output"]) == ("medic", "in")
    assert "refused by an input before it was an event" in engine.replay(by_input["id"]).stdout
    assert "holds no event that can be read" in engine.replay(unreadable["id"]).stdout
    assert json.loads(engine.run("show", unreadable["id"]).stdout)["document"] == "{no"


def test_the_configuration_of_another_pipeline_is_no_help(engine: Engine) -> None:
    first, _second = engine.refuse(REFUSED)
    settings = engine.folder / "settings"
    settings.mkdir()
    (settings / "pipelines.yml").write_text(f"- pipeline.id: other\n  path.config: {engine.config}\n")
    (settings / "logstash.yml").write_text(f"path.data: {engine.data}\n")
    answer = CliRunner().invoke(
        main, ["dead-letters", "replay", first, "--path.settings", str(settings)], catch_exceptions=False
    )
    assert answer.exit_code == 1
    assert "is of pipeline main, which the configuration does not have; it has: other" in answer.stdout


def test_a_settings_folder_says_where_letters_are_and_how_to_deliver_them(engine: Engine) -> None:
    engine.refuse(REFUSED)
    settings = engine.folder / "settings"
    settings.mkdir()
    queue = engine.folder / "queue"
    engine.file.parent.rename(queue)
    (settings / "pipelines.yml").write_text(
        f"- pipeline.id: main\n  path.config: {engine.config}\n  path.dead_letter_queue: {queue}\n"
    )
    engine.server.answers = [{"status": 200}]
    words = ["dead-letters", "replay", "--all", "--path.settings", str(settings)]
    answer = CliRunner().invoke(main, words, catch_exceptions=False)
    assert (answer.exit_code, answer.stdout.count("delivered")) == (0, 2)


def test_dropped_letters_are_gone_and_it_is_asked_before(engine: Engine) -> None:
    first, second = engine.refuse(REFUSED)
    refused = engine.run("drop", first, input="n\n")
    assert (refused.exit_code, "Remove 1 dead letter from its file" in refused.stdout) == (1, True)
    assert len(engine.listed()) == 2
    nobody = engine.run("drop", first)
    assert (nobody.exit_code, "--yes" in nobody.stderr) == (2, True)
    answer = engine.run("drop", first, first, "--yes")
    assert (answer.exit_code, answer.stdout) == (0, "1 removed from their files.\n")
    assert [one["id"] for one in engine.listed()] == [second]
    unknown = engine.run("drop", second, first, "--yes")
    assert (unknown.exit_code, f"no dead letter {first}" in unknown.stderr) == (1, True)
    assert [one["id"] for one in engine.listed()] == [second]


def test_numbers_are_of_the_table_which_is_not_there(engine: Engine) -> None:
    engine.refuse(REFUSED)
    for words in (["show", "7"], ["drop", "7", "--yes"], ["replay", "7"]):
        answer = engine.run(*words)
        assert answer.exit_code == 1
        assert "7: numbers are of the table" in answer.stderr
    assert engine.run("show", "main").exit_code == 2


def test_a_folder_that_is_not_there_is_an_error_and_one_without_letters_is_not(tmp_path: Path) -> None:
    def run(folder: Path) -> Result:
        return CliRunner().invoke(main, ["dead-letters", "list", "--path.data", str(folder)])

    assert (run(tmp_path).exit_code, run(tmp_path).stdout) == (0, "No dead letters in files.\n")
    answer = run(tmp_path / "nowhere")
    assert answer.exit_code == 1
    assert "nowhere" in answer.stderr
    assert "--path.data" in answer.stderr


def test_two_replays_at_once_are_refused(engine: Engine) -> None:
    first, _second = engine.refuse(REFUSED)
    with only_operator_of(engine.file):
        for words in (["replay", first, "-f", str(engine.config)], ["drop", first, "--yes"]):
            answer = engine.run(*words)
            assert answer.exit_code == 1
            assert "being replayed or dropped by another process" in answer.stderr
    assert engine.server.requests == []
    assert len(engine.listed()) == 2


def test_an_interrupted_replay_takes_out_what_it_has_delivered(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = engine.refuse(REFUSED)
    engine.server.answers = [{"status": 200}]
    deliver = Redelivery.deliver

    def interrupted(self: Redelivery, letter: Letter) -> Outcome:
        if letter.name == second:
            raise KeyboardInterrupt
        return deliver(self, letter)

    monkeypatch.setattr(Redelivery, "deliver", interrupted)
    answer = engine.replay("--all")
    assert (answer.exit_code, answer.stdout) == (130, f"{first}: delivered\n")
    assert [one["id"] for one in engine.listed()] == [second]


def test_a_replay_that_cannot_rewrite_the_file_names_what_was_delivered(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = engine.refuse(REFUSED)
    engine.server.answers = [{"status": 200}]

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(file.os, "fsync", full)
    answer = engine.replay("--all")
    assert answer.exit_code == 1
    for name in (first, second):
        assert f"{name}: delivered" in answer.stdout
        assert name in answer.stderr
    assert "still has letters that were delivered" in answer.stderr
    assert "Make room" in answer.stderr
    assert len(engine.listed()) == 2


def test_a_full_file_has_room_again_after_a_replay(engine: Engine) -> None:
    engine.refuse(REFUSED)
    size = engine.file.stat().st_size
    full = DeadLetterFile(engine.data, "main", most_bytes=size)
    engine.server.answers = [{"status": 200}]
    assert engine.replay("--all").exit_code == 0
    full.append([Rejected("new", None, None, "x", "y", EVENT)])
    assert [one["doc_id"] for one in engine.listed()] == ["new"]


def test_a_pipeline_stops_at_a_full_file_and_goes_on_by_itself_once_there_is_room(engine: Engine) -> None:
    events = ", ".join(f"'{{\"n\":{n}}}'" for n in range(40))
    engine.config.write_text(
        f"""
        input {{ generator {{ count => 1 codec => json lines => [{events}] }} }}
        output {{ http {{ id => "there" url => "{engine.server.url}" http_method => "post" }} }}"""
    )
    engine.server.answers = [{"status": 400, "body": "no room"}]
    log = engine.folder / "log"
    options = ["--path.data", str(engine.data), "--api.enabled", "false", "-b", "4"]
    limit = ["-S", "dead_letter_queue.max_bytes=4kb"]
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "cht_sync", "pipeline", "run", "-f", engine.config, *options, *limit],
            stderr=said,
        )
    try:
        eventually(lambda: "takes no more; the pipeline stops rather than lose any" in log.read_text())
        assert "cht-sync dead-letters replay or drop" in log.read_text()
        documents = [json.loads(line)["document"] for line in engine.file.read_text().splitlines()]
        kept = [json.loads(document)["n"] for document in documents]
        asked = [json.loads(request.body)["n"] for request in engine.server.requests]
        assert 1 < len(kept) < 40
        assert kept == list(range(len(kept)))
        assert asked[: len(kept) + 1] == list(range(len(kept) + 1))
        engine.server.answers = [{"status": 200}]
        assert engine.replay("--all").exit_code == 0
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert engine.listed() == []
    assert {json.loads(request.body)["n"] for request in engine.server.requests} == set(range(40))
