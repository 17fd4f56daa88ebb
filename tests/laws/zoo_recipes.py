"""One small recipe of every flow that has a word, for events of 16 numbers; an image where it needs one."""

from pushforward import _recipe as R

FLOWS: dict[str, R.Recipe] = {
    "nice": R.NICE(couplings=2, hidden=8, layers=1, dropout=0.1),
    "real_nvp": R.RealNVP(couplings=2, hidden=8, layers=1),
    "nsf_couplings": R.NSFCouplings(couplings=2, hidden=8, blocks=1, bins=4),
    "flowpp": R.FlowPP(couplings=2, hidden=8, blocks=1, components=3),
    "circular": R.Circular(couplings=2, hidden=8, blocks=1, bins=4),
    "glow": R.Glow(levels=1, steps=2, hidden=8),
    "tarflow": R.TarFlow(transforms=2, width=16, layers=1, heads=2, patch=2),
    "maf": R.MAF(2, hidden=20, layers=1, dropout=0.1),
    "iaf": R.IAF(2, hidden=20, layers=1),
    "nsf": R.NSF(2, hidden=20, layers=1, bins=4),
    "naf": R.NAF(2, hidden=20, layers=1, units=4),
    "umnn": R.UMNN(1, hidden=20, layers=1, embedding=3, units=6, depth=1, points=8),
    "sos": R.SOS(2, hidden=20, layers=1, degree=2, polynomials=2),
    "bernstein": R.Bernstein(2, hidden=20, layers=1, degree=4),
    "bnaf": R.BNAF(2, width=4, layers=1),
    "planar": R.Planar(2),
    "radial": R.Radial(2),
    "sylvester": R.Sylvester(2, directions=3),
    "gaussianization": R.Gaussianization(2, components=3),
    "residual_flow": R.ResidualFlow(2, hidden=8, layers=1, log_det="roulette"),
    "ffjord": R.FFJORD(hidden=8, layers=1, probes=1),
}
UNLABELLED = ("gaussianization",)
"""Those that read no classes, and say so."""
