# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From a history to a first bundle
#
# A small marketplace is simulated, its history checked, a bundle trained on the past and judged on what came later.
# The same steps are the commands `python -m training simulate | check | train | evaluate`; here they are functions, so
# that every table on the way can be looked at. `CLAIMS` makes it larger.

# %%
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.metrics import roc_auc_score

from risk.bundle import Bundle, signing_key
from risk.reasons import explain, load_reasons
from training.__main__ import main as training
from training.arguments import moment
from training.check import check_history
from training.dataset import scored_claims
from training.history import open_history

CLAIMS = os.environ.get("CLAIMS", "20000")
folder = Path(tempfile.mkdtemp(prefix="first-bundle-"))
history_folder, bundle_folder = folder / "history", folder / "bundle"

# %% [markdown]
# ## A history
# Three tables: orders, claims, labels. A label exists from the moment at which it became known, not before.

# %%
assert training(["simulate", "--out", str(history_folder), "--claims", CLAIMS, "--seed", "7"]) == 0

# %%
labels = pd.read_parquet(history_folder / "labels.parquet")
claims = pd.read_parquet(history_folder / "claims.parquet")
delay = labels.merge(claims[["claim_id", "submitted_at"]], on="claim_id")
days = (delay["known_at"] - delay["submitted_at"]).dt.total_seconds() / 86_400

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.5), layout="constrained")
claims["reason"].value_counts().sort_values().plot.barh(ax=left, color="tab:blue")
left.set(title="Claims by reason", xlabel="claims", ylabel="")
for label, part in days.groupby(delay["label"]):
    right.hist(part, bins=40, range=(0, 90), histtype="step", density=True, label=label, linewidth=1.5)
right.set(title="How long until a label is known", xlabel="days", yticks=[])
right.legend()
plt.show()

# %% [markdown]
# ## Check
# Problems are refused by `train`; warnings are for you.

# %%
findings = check_history(history_folder)
print(len(findings.problems), "problems;", len(findings.warnings), "warnings")
for warning in findings.warnings:
    print(warning)

# %% [markdown]
# ## Train on the past, judge on what came later
# `--until` hides everything that became known from that day on. The stretch that is judged begins there.

# %%
UNTIL, TO = "2026-03-01", "2026-05-15"
assert training(["train", "--history", str(history_folder), "--until", UNTIL, "--out", str(bundle_folder)]) == 0
bundle = Bundle.load(bundle_folder, signing_key())
pd.DataFrame(bundle.manifest["slices"]).T

# %%
with open_history(history_folder) as history:
    judged = scored_claims(history, bundle, moment(UNTIL), moment(TO))
known = judged[judged["label"].isin(["abuse", "legitimate"])]
abuse = known["label"] == "abuse"
print(f"{len(known):,} labelled claims, {abuse.mean():.1%} abuse, AUC {roc_auc_score(abuse, known['score']):.3f}")

# %%
figure, axis = plt.subplots(figsize=(8, 3.5), layout="constrained")
for name, part in known.groupby(abuse.map({True: "abuse", False: "legitimate"}))["score"]:
    axis.hist(part, bins=60, range=(0, 0.4), histtype="step", density=True, label=name, linewidth=1.5)
axis.axvline(bundle.threshold, color="black", linestyle="--", label=f"threshold {bundle.threshold:.3f}")
axis.set(title="Scores of later claims", xlabel="calibrated probability of abuse", yticks=[])
axis.legend()
plt.show()

# %% [markdown]
# ## Why
# What moved the riskiest claim, as a reviewer reads it. Weights are log-odds.

# %%
riskiest = judged.sort_values("score").iloc[-1]
values = [None if pd.isna(riskiest[name]) else riskiest[name] for name in bundle.columns]
reasons = explain(bundle, values)
pd.DataFrame([{"weight": round(reason.weight, 2), "reason": reason.text["en"], "zh": reason.text["zh"]} for reason in reasons])

# %%
figure, axis = plt.subplots(figsize=(8, 3), layout="constrained")
weights = pd.Series({reason.code: reason.weight for reason in reasons}).sort_values()
axis.barh(weights.index, weights, color=["tab:red" if weight > 0 else "tab:green" for weight in weights])
axis.axvline(0, color="black", linewidth=0.8)
axis.set(title=f"The riskiest claim: score {riskiest['score']:.2f}", xlabel="lowers  <  log-odds  <  raises")
plt.show()
print(len(load_reasons().groups), "reason groups in all")
