"""A user's mistake ends a command in one line; a fault of ours keeps its traceback."""

import argparse

import pytest

from dicom_io.errors import NotDicom
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
