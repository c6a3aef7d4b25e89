"""`python -m serving`: a database that is not ready is one sentence with its remedy, whatever is asked of it."""

from pathlib import Path

import pytest

from risk.errors import SettingError
from serving.__main__ import main
from serving.settings import Settings
from serving.store.migrate import newest
from tests.service import Server, free_port, new_database

NEEDING_TABLES = {
    "run": ["run"],
    "keys create": ["keys", "create", "--name", "x", "--scope", "admin"],
    "keys list": ["keys", "list"],
    "keys revoke": ["keys", "revoke", "x"],
    "load": ["load", "log.parquet"],
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PORT", str(free_port()))
    return tmp_path


@pytest.mark.parametrize("name", NEEDING_TABLES)
def test_before_migrate_it_is_said_what_to_do(
    postgres: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", new_database(postgres))
    assert main(NEEDING_TABLES[name]) == 1
    sentence = f"error: the database is at revision None, this code needs {newest()}: run `python -m serving migrate`\n"
    assert capsys.readouterr() == ("", sentence)


@pytest.mark.parametrize("name", [*NEEDING_TABLES, "migrate"])
def test_a_database_that_is_away_is_one_sentence(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://nobody@127.0.0.1:{free_port()}/nothing")
    assert main(NEEDING_TABLES.get(name, [name])) == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("error: the database does not answer: ")
    assert errors.count("\n") == 1


def test_the_service_tells_where_it_listens(server: Server) -> None:
    assert f"listening on {server.base}; Ctrl-C stops it\n" in server.log


def test_the_size_of_the_demonstration_is_checked_with_all_other_settings() -> None:
    with pytest.raises(SettingError) as caught:
        Settings.from_environment({"DEMO_CLAIMS": "12", "PORT": "http", "LOG_LEVEL": "loud"})
    assert [problem.where for problem in caught.value.problems] == ["PORT", "DEMO_CLAIMS", "LOG_LEVEL"]
