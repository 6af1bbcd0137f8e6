"""When the cluster counts as well again."""

from tests.chaos.run import is_in_rotation


def test_a_slot_out_of_rotation_is_not_well() -> None:
    names = [f"work-{n}" for n in range(1, 5)] + ["by-hand-1", "by-hand-2"]
    well = dict.fromkeys(names, "idle") | {"work-2": "busy", "by-hand-1": "ejected"}
    assert is_in_rotation(well)
    assert not is_in_rotation({})
    assert not is_in_rotation({name: well[name] for name in names[1:]})
    for name in names:
        assert not is_in_rotation(well | {name: "starting"})
    assert not is_in_rotation(well | {"work-1": "ejected"})
