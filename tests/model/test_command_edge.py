"""A user's mistake ends a command in one line; a fault of ours keeps its traceback."""

import argparse
from types import ModuleType

import pytest

from dicom_io.errors import NotDicom
from model import audit, evaluate, faithfulness, gate, train_command
from model.command_edge import one_line_errors

PARSER = argparse.ArgumentParser(prog="python -m model.example")


@pytest.mark.parametrize(
    "mistake",
    [
        ValueError("expected a manifest, came a folder"),
        FileNotFoundError("no films.csv"),
        ModuleNotFoundError("mlflow is missing: pip install mlflow"),
        NotDicom("no DICOM file"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(mistake: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, one_line_errors(PARSER):
        raise mistake
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"python -m model.example: {mistake}\n"


def test_a_fault_of_ours_is_not_hidden() -> None:
    with pytest.raises(KeyError), one_line_errors(PARSER):
        raise KeyError("weights")


def test_an_interrupted_command_says_what_becomes_of_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, one_line_errors(PARSER, if_interrupted="it goes on"):
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert capsys.readouterr().err == "python -m model.example: interrupted; it goes on\n"


def test_without_a_way_to_go_on_ctrl_c_stays_what_it_is() -> None:
    with pytest.raises(KeyboardInterrupt), one_line_errors(PARSER):
        raise KeyboardInterrupt


@pytest.mark.parametrize("module", [audit, evaluate, faithfulness, gate, train_command])
@pytest.mark.parametrize("threads", ["-1", "0", "two"])
def test_a_number_of_threads_that_is_none_is_refused(
    module: ModuleType, threads: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        module.main(["--data", "m.csv", "--threads", threads])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"argument --threads: expected a whole number of 1 or more, came '{threads}'" in said
