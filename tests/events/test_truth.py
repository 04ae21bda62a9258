from xec_deploy.events import TRUTH_BRANCHES, find_truth


def test_first_candidate_wins_and_absent_tasks_are_left_out():
    names = ["npho", "energy", "energyTruth", "emiAng", "uvwFI", "timing", "nGamma"]
    assert find_truth(names) == {
        "energy": "energyTruth",
        "angle": "emiAng",
        "timing": "timing",
        "uvwFI": "uvwFI",
        "n_gamma": "nGamma",
    }
    assert find_truth(["npho"]) == {}


def test_units():
    assert {task: truth.unit for task, truth in TRUTH_BRANCHES.items()} == {
        "energy": "GeV",
        "angle": "deg",
        "timing": "ns",
        "uvwFI": "cm",
        "angleVec": None,
        "n_gamma": None,
    }
