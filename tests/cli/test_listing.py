"""What `saltus list` says of a study."""

from __future__ import annotations

import pytest

from saltus.cli.listing import _show_study, study_document
from saltus.studies import Study, find_study


def test_a_study_that_trains_nothing_is_shown_without_an_arm(capsys):
    study = Study(
        name="on-paper",
        title="Closed forms",
        paper="none",
        question="What follows without training?",
        recipe=lambda scale: {},
        claims=lambda scale: (),
        changed="nothing",
    )
    document = study_document(study)
    assert document["arms"] == {"quick": {}, "paper": {}} and document["claims"] == []
    _show_study(document)
    assert capsys.readouterr().out.endswith("\nsaltus reproduce on-paper\n")


@pytest.mark.parametrize("name", ["loss-plateau"])
def test_a_study_is_shown_with_how_to_run_one_of_its_arms(name, capsys):
    document = study_document(find_study(name))
    _show_study(document)
    arm = next(iter(document["arms"]["quick"]))
    assert f"saltus reproduce {name}; saltus run {name}:{arm}\n" in capsys.readouterr().out
