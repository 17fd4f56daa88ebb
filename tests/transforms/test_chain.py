import gc
import operator
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from laws.zoo_transforms import TRANSFORMS
from pushforward._errors import ConfigError
from pushforward.transforms import Chain, DiagonalScale, Inverse, Shift, Transform, reverse, tile

MEMBER = TRANSFORMS["chain-context"]


def chain() -> Chain:
    made = MEMBER.transform()
    assert isinstance(made, Chain)
    return made


# ---- a chain is a sequence: whatever a list does, it does -------------------------------------------------

quickly = settings(deadline=None, max_examples=60)  # a busy machine is no failure
POOL = [Shift((2,)), DiagonalScale((2,)), reverse(2), tile(2), Inverse(tile(2))]
lists = st.lists(st.sampled_from(POOL), max_size=6)  # members may occur twice
bounds = st.none() | st.integers(-8, 8)
slices = st.builds(slice, bounds, bounds, st.none() | st.integers(-3, 3).filter(bool))


def outcome(action):
    """What an action returns, or the type of what it raises."""
    try:
        return action()
    except Exception as error:
        return type(error)


@quickly
@given(lists, st.integers(-8, 8))
def test_indices_are_those_of_a_list(members, index):
    assert outcome(lambda: Chain(*members)[index]) is outcome(lambda: members[index])


@quickly
@given(lists, slices)
def test_slices_are_those_of_a_list_and_are_chains(members, part):
    sliced = Chain(*members)[part]
    assert isinstance(sliced, Chain)
    assert list(sliced) == members[part]


@quickly
@given(lists, st.sampled_from(POOL))
def test_questions_are_answered_as_by_a_list(members, sought):
    made = Chain(*members)
    assert len(made) == len(members)
    assert bool(made) == bool(members)
    assert list(made) == members
    assert list(reversed(made)) == list(reversed(members))
    assert (sought in made) == (sought in members)
    assert made.count(sought) == members.count(sought)
    assert outcome(lambda: made.index(sought)) == outcome(lambda: members.index(sought))


@quickly
@given(lists, st.sampled_from(POOL), st.integers(-8, 8), st.integers(-8, 8))
def test_index_takes_bounds_like_a_list(members, sought, start, stop):
    made = Chain(*members)
    assert outcome(lambda: made.index(sought, start, stop)) == outcome(lambda: members.index(sought, start, stop))


@quickly
@given(lists, lists)
def test_plus_concatenates_into_a_chain(first, second):
    made = Chain(*first) + Chain(*second)
    assert isinstance(made, Chain)
    assert list(made) == first + second


@quickly
@given(lists)
def test_patterns_match_a_chain_as_a_list(members):
    match Chain(*members):
        case [first, *rest]:
            assert [first, *rest] == members
        case []:
            assert members == []


@pytest.mark.parametrize("other", [[], (), None, 1, Shift((2,))])
def test_plus_of_something_else_is_a_type_error(other):
    with pytest.raises(TypeError):
        operator.add(Chain(), other)


@pytest.mark.parametrize("index", ["0", 1.0, None])
def test_a_wrong_index_is_a_type_error_as_in_a_list(index):
    with pytest.raises(TypeError):
        Chain(Shift((2,)))[index]


def test_slices_and_sums_share_parameters():
    whole = Chain(Shift((2,)), DiagonalScale((2,)))
    with torch.no_grad():
        next(iter(whole[:1].parameters())).add_(1)
        next(iter((whole[1:] + whole[:1]).parameters())).add_(2)
    assert [p.tolist() for p in whole.parameters()] == [[1, 1], [2, 2]]


def test_only_transforms_can_be_chained():
    with pytest.raises(ConfigError, match="got a Linear"):
        Chain(torch.nn.Linear(2, 2))  # pyright: ignore[reportArgumentType]


# ---- a chain is the composition of its members ------------------------------------------------------------


def test_parts_compose_to_the_whole():
    whole, x, context = chain(), MEMBER.data(), MEMBER.contexts()
    z, ladj = whole.encode(x, context)
    for cut in range(len(whole) + 1):
        middle, first = whole[:cut].encode(x, context)
        end, second = whole[cut:].encode(middle, context)
        assert torch.equal(end, z)
        assert_close(first + second, ladj)


def test_a_chain_turned_round_twice_is_itself():
    whole, x = chain(), MEMBER.data()
    again = Inverse(Inverse(whole))
    for a, b in zip(again.encode(x, MEMBER.contexts()), whole.encode(x, MEMBER.contexts())):
        assert torch.equal(a, b)


# ---- steps ------------------------------------------------------------------------------------------------


def run(steps):
    """All that a generator yields, and what it returns."""
    seen = []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as stop:
            return seen, stop.value


@pytest.mark.parametrize("direction", ["encode", "decode"])
def test_watching_changes_nothing(direction):
    made, context = chain(), MEMBER.contexts()
    x = MEMBER.data() if direction == "encode" else MEMBER.noise()
    seen, end = run(getattr(made, f"{direction}_steps")(x, context))
    plain = getattr(made, direction)(x, context)
    assert len(seen) == len(made)
    for pair in (seen[-1], end):
        assert torch.equal(pair[0], plain[0])
        assert torch.equal(pair[1], plain[1])


def test_each_step_is_the_chain_so_far():
    made, x, context = chain(), MEMBER.data(), MEMBER.contexts()
    for done, (value, ladj) in enumerate(made.encode_steps(x, context), start=1):
        assert_close((value, ladj), made[:done].encode(x, context))
    for done, (value, ladj) in enumerate(made.decode_steps(x, context), start=1):
        assert_close((value, ladj), made[len(made) - done :].decode(x, context))


@pytest.mark.parametrize("at", range(1, len(chain()) + 1))
@pytest.mark.parametrize("direction", ["encode", "decode"])
def test_an_edit_goes_on_as_if_started_there(direction, at):
    made, context = chain(), MEMBER.contexts()
    rest: Transform = made[at:] if direction == "encode" else made[: len(made) - at]
    edited = MEMBER.noise(seed=9)
    steps = getattr(made, f"{direction}_steps")(MEMBER.data(), context)
    for _ in range(at):
        next(steps)
    expected, expected_end = run(getattr(rest, f"{direction}_steps")(edited, context))
    try:
        seen = [steps.send(edited)]
    except StopIteration as stop:
        seen, end = [], stop.value
    else:
        more, end = run(steps)
        seen += more
    for got, want in zip([*seen, end], [*expected, expected_end], strict=True):
        assert torch.equal(got[0], want[0])
        assert torch.equal(got[1], want[1])


def test_nothing_is_kept_alive_without_the_cycle_collector():
    gc.disable()
    try:
        made, x = chain(), MEMBER.data().requires_grad_()
        steps = made.decode_steps(x, MEMBER.contexts())
        value, ladj = next(steps)
        z, density = made.encode(x, MEMBER.contexts())
        watched = [weakref.ref(thing) for thing in (made, x, value, ladj, z, density, steps)]
        watched += [weakref.ref(parameter) for parameter in made.parameters()]
        del made, x, value, ladj, z, density, steps
        assert [w() for w in watched] == [None] * len(watched)
    finally:
        gc.enable()


def test_one_graph_holds_the_whole_chain():
    made, x, context = chain(), MEMBER.data(), MEMBER.contexts()
    whole = torch.compile(lambda v, c: made.encode(v, c), backend="eager", fullgraph=True)
    assert_close(whole(x, context), made.encode(x, context))
