import math
import pickle

import numpy as np
import pytest
import torch

from pushforward._errors import ConfigError, DataError, PushforwardError
from pushforward.data import Bounded, Categorical, Circular, Integer
from pushforward.training import FlowDensity
from pushforward.training.parameters import NotFittedError

SMALL = {"hidden": 32, "transforms": 2}


class Frame:
    """The least a data frame is: columns by name, made of a dictionary."""

    def __init__(self, columns):
        self.held = {name: np.asarray(values) for name, values in columns.items()}
        self.columns = list(self.held)

    def __getitem__(self, name):
        return self.held[name]


def crescent(n, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return np.stack([x, x**2 + 0.3 * rng.normal(size=n)], 1)


def crescent_log_density(rows):
    x, y = rows.T
    return -0.5 * x**2 - 0.5 * ((y - x**2) / 0.3) ** 2 - math.log(2 * math.pi * 0.3)


def people(n=1_500, seed=0):
    """Everything depends on the kind, so that what is missing can be told."""
    rng = np.random.default_rng(seed)
    which = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    income = np.exp(which + 0.3 * rng.normal(size=n))
    hidden = rng.random(n) < 0.2
    return Frame({
        "kind": np.array(["a", "b", "c"], dtype=object)[which],
        "children": rng.poisson(1 + 3 * which),
        "income": np.where(hidden, np.nan, income),
        "share": rng.beta(1 + 2 * which, 2),
        "hour": (23 + which + rng.normal(size=n)) % 24,
        "member": which + rng.normal(size=n) > 1,
    }), which, hidden  # fmt: skip


KINDS = {"income": "positive", "share": Bounded(0, 1), "hour": Circular(24)}


@pytest.fixture(scope="module")
def fitted():
    table, which, hidden = people()
    return FlowDensity(steps=400, columns=KINDS, **SMALL).fit(table), table, which, hidden


@pytest.mark.parametrize("model", ["nsf", "maf"])
def test_a_known_density_is_found_and_a_normal_one_is_not_it(model):
    """y = x**2 + noise: within 0.1 nats of the truth on held-out rows; the best Gaussian is off by 0.8 and more."""
    train, test = crescent(2_000, 0), crescent(2_000, 1)
    flow = FlowDensity(model, steps=400, **SMALL).fit(train)
    truth = crescent_log_density(test).mean()
    off, centred = np.cov(train.T), test - train.mean(0)
    gaussian = -0.5 * (np.einsum("ni,ij,nj->n", centred, np.linalg.inv(off), centred).mean())
    gaussian -= 0.5 * np.linalg.slogdet(2 * np.pi * off)[1]
    assert truth - 0.1 < flow.score(test) <= truth + 0.02
    assert flow.score(test) > gaussian + 0.8


def test_a_conditional_is_the_slice_of_the_density():
    """p(y | x): N(x**2, 0.3**2), and p(x) = N(0, 1) where y is missing."""
    flow = FlowDensity(steps=600, **SMALL).fit(crescent(2_000, 0))
    rows = flow.conditional({0: 1.5}, 2_000)
    assert (rows[:, 0] == 1.5).all()
    assert rows[:, 1].mean() == pytest.approx(1.5**2, abs=0.15)
    assert rows[:, 1].std() == pytest.approx(0.3, abs=0.1)
    test = crescent(1_000, 1)
    given = flow.score_samples(test, given=[0])
    truth = crescent_log_density(test) + 0.5 * test[:, 0] ** 2 + 0.5 * math.log(2 * math.pi)
    assert given.mean() == pytest.approx(truth.mean(), abs=0.15)
    alone = test.copy()
    alone[:, 1] = np.nan
    known = -0.5 * test[:, 0] ** 2 - 0.5 * math.log(2 * math.pi)
    assert flow.score(alone) == pytest.approx(known.mean(), abs=0.15)


def test_samples_are_in_the_supports(fitted):
    rows = fitted[0].sample(3_000, seed=1)
    assert isinstance(rows, Frame)
    assert rows.columns == ["kind", "children", "income", "share", "hour", "member"]
    assert set(rows["kind"]) == {"a", "b", "c"}
    assert rows["children"].dtype == np.int64
    assert rows["children"].min() >= 0
    assert rows["income"].min() > 0
    assert ((rows["share"] >= 0) & (rows["share"] <= 1)).all()
    assert ((rows["hour"] >= 0) & (rows["hour"] < 24)).all()
    assert rows["member"].dtype == bool
    assert np.isfinite(fitted[0].score_samples(rows)).all()


def test_samples_look_like_the_table(fitted):
    flow, table, which, _ = fitted
    rows = flow.sample(4_000)
    for place, kind in enumerate("abc"):
        ours, theirs = rows["kind"] == kind, which == place
        assert ours.mean() == pytest.approx(theirs.mean(), abs=0.05)
        assert rows["children"][ours].mean() == pytest.approx(table["children"][theirs].mean(), abs=0.8)
        assert rows["member"][ours].mean() == pytest.approx(table["member"][theirs].mean(), abs=0.1)
        late = np.exp(2j * np.pi / 24 * (rows["hour"][ours] - 23 - place)).mean()
        assert np.angle(late) == pytest.approx(0, abs=0.1)


def test_missing_values_are_imputed_with_plausible_ones(fitted):
    flow, table, which, hidden = fitted
    whole = flow.impute(table)
    assert (whole["income"][~hidden] == table["income"][~hidden]).all()
    assert (whole["children"] == table["children"]).all()
    for place in range(3):
        drawn = np.log(whole["income"][hidden & (which == place)])
        assert drawn.mean() == pytest.approx(place, abs=0.25)
        assert drawn.std() == pytest.approx(0.3, abs=0.2)
    again = flow.impute(table, seed=5)
    assert (again["income"][hidden] != whole["income"][hidden]).all()


def test_a_data_frame_is_imputed_in_its_place():
    """Index, order and types stay, so the column can be put back; samples of whole numbers and categories are such."""
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    counts = np.random.default_rng(0).poisson(3, 60)
    table = pd.DataFrame({
        "zip": pd.Categorical(np.array([10115, 20095, 80331])[counts % 3]), "count": pd.array(counts, dtype="Int64"),
    }, index=np.arange(10, 70))  # fmt: skip
    table.loc[12, "count"], table.loc[15, "zip"] = pd.NA, np.nan
    flow = FlowDensity(steps=5, **SMALL).fit(table)
    put_back = table.assign(count=flow.impute(table)["count"])
    assert put_back["count"].notna().all()
    assert (put_back["count"].drop(12) == table["count"].drop(12)).all()
    assert (flow.impute(table).dtypes == table.dtypes).all()
    rows = flow.sample(200)
    assert set(rows["zip"]) <= {10115, 20095, 80331}
    assert (rows["count"] >= 0).all()
    assert (flow.impute(table[["zip", "count"]].iloc[::-1]).index == table.index[::-1]).all()


def test_one_name_is_one_column():
    """Not the sequence of its letters."""
    rng = np.random.default_rng(0)
    table = {name: rng.normal(size=50) for name in ("a", "b", "ab")}
    flow = FlowDensity(steps=20, hidden=8).fit(table)
    assert (flow.score_samples(table, given="ab") == flow.score_samples(table, given=["ab"])).all()
    assert (flow.score_samples(table, given="ab") != flow.score_samples(table, given=["a", "b"])).all()
    with pytest.raises(ConfigError, match="names of columns; got 'ba'"):
        flow.score_samples(table, given="ba")


def test_a_missing_category_is_imputed_with_a_category(fitted):
    flow, table, which, _ = fitted
    holed = Frame({**table.held, "kind": np.where(np.arange(len(which)) % 3 == 0, None, table["kind"])})
    gone = np.array([kind is None for kind in holed["kind"]])
    kinds = flow.impute(holed)["kind"]
    assert (kinds[~gone] == table["kind"][~gone]).all()
    assert (kinds[gone] == table["kind"][gone]).mean() > 0.75  # by chance: 0.38


def test_probabilities_of_levels_sum_to_one(fitted):
    """p(kind | nothing) over all kinds, and p(children) over all counts: each a bound, close by many draws."""
    flow, table, _, _ = fitted
    empty = {name: np.full(3, None, dtype=object) for name in table.columns}
    rows = Frame({**empty, "kind": np.array(["a", "b", "c"], dtype=object)})
    assert np.exp(flow.score_samples(rows)).sum() == pytest.approx(1, abs=0.03)
    counts = Frame({
        **{name: np.full(40, None, dtype=object) for name in table.columns}, "children": np.arange(40.0),
    })  # fmt: skip
    assert np.exp(flow.score_samples(counts)).sum() == pytest.approx(1, abs=0.03)
    assert flow.score_samples(Frame({name: cells[:1] for name, cells in empty.items()})) == pytest.approx(0, abs=1e-9)


def test_outside_the_support_the_density_is_zero(fitted):
    flow, table, _, _ = fitted
    for name, value in {"share": 1.5, "income": -1.0, "children": 2.5, "kind": "z"}.items():
        row = {key: cells[:1] for key, cells in table.held.items()}
        odd = Frame({**row, name: np.array([value], dtype=object)})
        assert flow.score_samples(odd)[0] == -math.inf


def test_what_was_not_learned_is_not_given():
    flow = FlowDensity(steps=2, hidden=8, conditionals=0).fit(crescent(50, 0))
    assert flow.sample(2).shape == (2, 2)
    with pytest.raises(ConfigError, match="has learned conditionals"):
        flow.conditional({0: 1.0})
    with pytest.raises(ConfigError, match="has learned marginals"):
        flow.score_samples([[0.0, math.nan]])
    with_holes = np.vstack([crescent(50, 0), [[0.0, math.nan]]])
    flow.fit(with_holes)
    assert np.isfinite(flow.score_samples(with_holes)).all()


def test_heavy_tails_are_learned():
    """A wrong value in one row, and Cauchy's tails: standard deviations are nobody's width."""
    rng = np.random.default_rng(0)
    rows, held = (np.stack([rng.normal(size=n), rng.standard_cauchy(n)], 1) for n in (1_500, 1_500))
    rows[7, 0] = 1e6
    truth = -0.5 * held[:, 0] ** 2 - 0.5 * math.log(2 * math.pi) - np.log(math.pi * (1 + held[:, 1] ** 2))
    flow = FlowDensity(steps=300, hidden=16).fit(rows)
    assert flow.score(held) > truth.mean() - 0.3
    drawn = np.quantile(flow.sample(4_000), [0.1, 0.25, 0.75, 0.9], 0)
    np.testing.assert_allclose(drawn, np.quantile(rows, [0.1, 0.25, 0.75, 0.9], 0), rtol=0.5)


def test_conditions_on_words_and_numbers(fitted):
    rows = fitted[0].conditional({"kind": "c", "share": 0.5}, 500)
    assert set(rows["kind"]) == {"c"}
    assert (rows["share"] == 0.5).all()
    assert np.log(rows["income"]).mean() == pytest.approx(2, abs=0.25)
    with pytest.raises(DataError, match=r"a value of column 'share' within Bounded.*got 2\. Nothing can be said"):
        fitted[0].conditional({"share": 2.0})
    with pytest.raises(ConfigError, match="got 'age'"):
        fitted[0].conditional({"age": 2.0})


def test_the_seed_says_everything_and_nothing_else_is_touched():
    rows = crescent(200, 0)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, two = (FlowDensity(steps=5, hidden=8, seed=4).fit(rows) for _ in range(2))
    assert (torch.get_rng_state() == before).all()
    assert (one.sample(5) == two.sample(5)).all()
    assert (one.sample(5, seed=1) != one.sample(5)).all()
    np.testing.assert_allclose(one.sample(9)[:5], one.sample(5), rtol=1e-5, atol=1e-6)  # but for rounding
    other = FlowDensity(steps=5, hidden=8, seed=5).fit(rows)
    assert (other.score_samples(rows) != one.score_samples(rows)).all()
    assert (pickle.loads(pickle.dumps(one)).score_samples(rows) == one.score_samples(rows)).all()


def test_a_small_table_is_not_learned_by_heart():
    """Sixty rows of six independent normal numbers, hundreds of steps: near the truth on new rows, not far below."""
    train, test = (np.random.default_rng(seed).normal(size=(n, 6)) for seed, n in ((0, 60), (1, 1_000)))
    truth = (-0.5 * (test**2).sum(1) - 3 * math.log(2 * math.pi)).mean()
    careful = FlowDensity(steps=400, hidden=32).fit(train)
    assert careful.history_.steps[-1] < 400
    assert truth - 1.5 < careful.score(test) < truth
    assert FlowDensity(steps=400, hidden=32, held_out=0, dropout=0).fit(train).score(test) < careful.score(test) - 1


def test_single_precision_does_not_leave_the_support():
    angles = np.random.default_rng(0).uniform(0, 24, (300, 2)).astype(np.float32)
    rows = FlowDensity(steps=20, hidden=8, columns={0: Circular(24), 1: "positive"}).fit(angles).sample(2_000)
    assert rows.dtype == np.float64
    assert (rows[:, 0] < 24).all()
    assert (rows[:, 1] > 0).all()


def test_another_default_precision_does_as_well():
    rows = np.random.default_rng(0).integers(0, 5, (100, 2))
    found = []
    for dtype in (torch.float32, torch.float64):
        torch.set_default_dtype(dtype)
        try:
            flow = FlowDensity(steps=5, hidden=8).fit(rows)
            state = torch.get_rng_state()
            found.append(flow.score_samples(rows))
            assert (torch.get_rng_state() == state).all()
        finally:
            torch.set_default_dtype(torch.float32)
    assert np.isfinite(found).all()
    assert found[0] == pytest.approx(found[1], abs=0.5)  # the weights start from other draws


def test_training_is_silent(capfd):
    FlowDensity(steps=3, hidden=8).fit(crescent(50, 0))
    shown = capfd.readouterr()
    assert not shown.out
    assert not shown.err


def test_whole_arrays_stay_whole():
    rolls = np.random.default_rng(0).integers(1, 7, (300, 2))
    flow = FlowDensity(steps=30, hidden=8, columns={0: Integer(1, 6), 1: "categorical"}).fit(rolls)
    rows = flow.sample(200)
    assert rows.dtype == rolls.dtype
    assert set(rows.ravel()) <= set(range(1, 7))
    assert flow.columns_.kinds[1] == Categorical((1, 2, 3, 4, 5, 6), flow.columns_.kinds[1].shares)


def test_truth_values_stay_truth_values():
    said = np.random.default_rng(0).random((60, 2)) > 0.5
    assert FlowDensity(steps=2, hidden=8).fit(said).sample(5).dtype == bool


def test_a_tuple_is_one_name_where_names_are_tuples():
    rows = crescent(30, 0)
    flow = FlowDensity(steps=2, hidden=8).fit(Frame({("a", 1): rows[:, 0], ("a", 2): rows[:, 1]}))
    plain = FlowDensity(steps=2, hidden=8).fit(rows)
    same = Frame({("a", 1): rows[:3, 0], ("a", 2): rows[:3, 1]})
    for given in (0,), np.array([0, 1]):
        names = [("a", 1), ("a", 2)][: len(given)]
        expected = plain.score_samples(rows[:3], given=given)
        np.testing.assert_array_equal(flow.score_samples(same, given=names if len(names) > 1 else names[0]), expected)


def test_a_row_of_a_frame_can_be_given(fitted):
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    given = pandas.Series({"kind": "c", "share": 0.5})
    assert fitted[0].conditional(given, 3)["share"].tolist() == [0.5] * 3


@pytest.mark.parametrize(
    ("given", "n", "message"),
    [
        ({"kind": "z"}, 1, r"a category of column 'kind' \('a', 'b', 'c'\); got 'z'"),
        ({"income": -2.5}, 1, r"got -2\.5\."),
        ({"share": [0.1, 0.2]}, 1, r"one value given for column 'share'; got \[0.1, 0.2\]"),
        ({}, -1, "n_samples of 0 or more; got -1"),
        ({}, 2.5, "n_samples of 0 or more; got 2.5"),
    ],
)
def test_what_cannot_be_given_is_said(fitted, given, n, message):
    with pytest.raises(PushforwardError, match=message):
        fitted[0].conditional(given, n)


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (np.zeros(3), {}, "Reshape your data"),
        (np.zeros((3, 0)), {}, r"0 feature\(s\)"),
        (np.zeros((1, 2)), {}, "n_samples = 1"),
        (np.array([[1.0, math.inf], [0.0, 1.0]]), {}, "finite numbers in column 1"),
        (np.ones((5, 1)), {}, "A constant has no density"),
        (crescent(9, 0), {"model": "glow"}, "model 'nsf' or 'maf'"),
        (crescent(9, 0), {"columns": {0: "angle"}}, "a kind for column 0"),
        (crescent(9, 0), {"columns": {7: "real"}}, "names of columns; got 7"),
        (crescent(9, 0), {"columns": {0: "positive"}}, "in the support of Positive"),
        (crescent(9, 0), {"conditionals": 2}, "shares in"),
        (crescent(9, 0), {"dropout": 1.0}, "dropout from 0 to below 1; got 1.0"),
        (crescent(9, 0), {"hidden": 8.0}, "hidden to be a whole number; got 8.0"),
        (crescent(9, 0), {"columns": ["real"]}, "kinds by column"),
        (crescent(9, 0), {"hidden": 0}, "hidden of 1 unit or more; got 0"),
        (Frame({"a": np.array(["2020-01-01", "2020-01-02"], dtype="M8[D]")}), {}, r"as Circular\(24\)"),
        (
            Frame({"a": ["x", "y", "x"]}),
            {"columns": {"a": Categorical(("x",))}},
            r"got 1 outside it\. .*all categories",
        ),
        (Frame({"a": ["x", "y"]}), {"columns": {"a": "real"}}, "Declare it 'categorical'"),
    ],
)
def test_bad_input_is_refused_with_a_reason(table, options, message):
    with pytest.raises(PushforwardError, match=message):
        FlowDensity(**{"steps": 1, "hidden": 8, **options}).fit(table)


def test_the_protocol_without_scikit_learn():
    flow = FlowDensity(steps=3, hidden=8)
    assert type(flow)(**flow.get_params()).get_params() == flow.get_params()
    assert flow.set_params(seed=2) is flow
    assert repr(flow) == "FlowDensity(steps=3, hidden=8, seed=2)"
    with pytest.raises(ConfigError, match="a parameter of FlowDensity; got 'depth'"):
        flow.set_params(depth=3)
    with pytest.raises((NotFittedError, ValueError), match=r"Call fit\(X\) first"):
        flow.sample()
    assert flow.fit(Frame({"a": np.arange(9.0)})) is flow
    assert (flow.n_features_in_, list(flow.feature_names_in_)) == (1, ["a"])
    with pytest.raises(DataError, match="The feature names should match"):
        flow.score(Frame({"b": np.arange(9.0)}))


@pytest.mark.filterwarnings("ignore:Estimator FlowDensity does not inherit:UserWarning")
def test_scikit_learn_accepts_it():
    checks = pytest.importorskip("sklearn.utils.estimator_checks", reason="needs scikit-learn")
    made = FlowDensity(steps=2, hidden=8, transforms=1)
    found = checks.check_estimator(made, on_skip=None, on_fail=None)
    assert len(found) > 30
    assert not [
        (each["check_name"], each["exception"]) for each in found if each["status"] not in ("passed", "skipped")
    ]
