"""Intervention sweeps: set one concept group after another and measure the accuracy.

A sweep works on cached evidence, so the network runs once for all policies, orders and annotators:

    cached = cache_evidence(model, data.test_dataloader())
    curves = sweep(model, cached, make_policies(["random", "coop"], model, cached))
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import torch
from torch import Tensor

from zoo.core.module import SelfInterpretable
from zoo.domain import Domain
from zoo.interventions.cached_evidence import CachedEvidence, concepts_of
from zoo.interventions.curve import Curve
from zoo.interventions.effects import chunk_rows, intervention_effects
from zoo.interventions.policies import CooP, Policy
from zoo.interventions.policy_state import PolicyState
from zoo.interventions.protocol import Protocol, group_members
from zoo.training.modes import evaluating
from zoo.utils.progress import track

GRID = (0.1, 1.0, 10.0, 100.0)  # values of CooP's alpha and beta


@torch.no_grad()
def sweep(
    model: SelfInterpretable,
    cached: CachedEvidence,
    policies: Sequence[Policy],
    protocol: Protocol | None = None,
    title: str = "",
) -> list[Curve]:
    """Runs every policy with every annotator; returns one curve for each competence and policy, in this order.

    Each chunk of rows passes through all policies and steps before the next chunk, so that the effects of
    interventions are computed once per row.

    Args:
        model: with annotated concepts.
        cached: its evidence, see `cache_evidence`.
        policies: see `zoo.interventions.policies`; those with `needs_fit` must be fitted.
        protocol: how to run; by default `Protocol()`.
        title: of the progress bar; empty for none.

    Raises:
        ValueError: a model that does not support interventions, an unknown group, or a policy that does not support
            the protocol.
    """
    concepts, protocol = concepts_of(model), protocol or Protocol()
    groups = protocol.groups_of(model.domain)
    columns = _columns(groups, model.domain, policies)
    members = group_members(groups, concepts.count, model.device)
    truth, *labels = _labels(cached, concepts.exclusive, protocol)
    generator = torch.Generator().manual_seed(protocol.seed)
    noise = torch.rand(protocol.orders, len(cached), len(members), generator=generator)
    orders = [protocol.orders if policy.stochastic else 1 for policy in policies]
    correct = [[torch.zeros(n, len(members) + 1, dtype=torch.long) for n in orders] for _ in labels]

    size = chunk_rows(model, cached)
    with evaluating(model), track(None, title, len(cached), unit="row", shown=bool(title)) as bar:
        for start in range(0, len(cached), size):
            rows = slice(start, start + size)
            part, chunk_noise = cached.part(rows, model.device), noise[:, rows].to(model.device)
            effects, chunk_truth = intervention_effects(model, part.evidence, members), truth[rows].to(model.device)
            true_changes = effects.changes(chunk_truth)
            for counts, annotated in zip(correct, labels, strict=True):
                chunk_labels = annotated[rows].to(model.device)
                start_state = PolicyState(
                    model=model,
                    effects=effects,
                    probability=concepts.probability(part.evidence),
                    truth=chunk_truth,
                    target=part.target,
                    labels=chunk_labels,
                    changes=effects.changes(chunk_labels),
                    true_changes=true_changes,
                    intervened=members.new_zeros(len(part), len(members)),
                    noise=chunk_noise[0],
                    groups=tuple(groups),
                    columns=columns,
                )
                for policy, count in zip(policies, counts, strict=True):
                    for order, total in enumerate(count):
                        total += _run(policy, replace(start_state, noise=chunk_noise[order]), protocol).cpu()
            bar.update(len(part))
    return [
        Curve(policy.name, competence, count / len(cached), policy.settings)
        for competence, counts in zip(protocol.competences, correct, strict=True)
        for policy, count in zip(policies, counts, strict=True)
    ]


def tune(
    model: SelfInterpretable, validation: CachedEvidence, protocol: Protocol | None = None, title: str = ""
) -> CooP:
    """The CooP with alpha and beta from `GRID` and the highest Σ_n accuracy_n (1 - n / G) on validation data.

    Ties go to the smallest alpha, then to the smallest beta. See `sweep` for the arguments.
    """
    policies = [CooP(alpha, beta) for alpha, beta in product(GRID, GRID)]
    protocol = replace(protocol or Protocol(), competences=(1.0,))
    curves = sweep(model, validation, policies, protocol, title)
    values = [float((curve.mean * torch.linspace(1, 0, len(curve.mean))).sum()) for curve in curves]
    return policies[max(range(len(values)), key=values.__getitem__)]


def _columns(groups: Mapping[str, list[int]], domain: Domain, policies: Sequence[Policy]) -> list[int]:
    """Number of each group among all groups of the domain; -1 for a single concept of a larger group."""
    known = list(domain.group_columns().values())
    columns = [known.index(c) if c in known else -1 for c in groups.values()]
    for policy in policies:
        if policy.whole_groups and -1 in columns:
            raise ValueError(
                f"the policy '{policy.name}' requests whole concept groups; run it without `individually`, or leave it "
                "out."
            )
    return columns


def _labels(cached: CachedEvidence, exclusive: Sequence[Sequence[int]], protocol: Protocol) -> list[Tensor]:
    """The truth (N, k), and the labels of each annotator."""
    annotators = protocol.annotators()
    truth = annotators[0].true_labels(cached, exclusive)
    together = [] if protocol.individually else exclusive  # the wrong label of a single concept is its negation
    return [truth, *(annotator.annotate(truth, together) for annotator in annotators)]


def _run(policy: Policy, state: PolicyState, protocol: Protocol) -> Tensor:
    """Number of correct rows (G + 1,) after each number of groups."""
    rescore = policy.rescores if protocol.rescore is None else protocol.rescore
    scores = policy.group_scores(state, protocol.reduce or policy.reduce)
    if policy.stochastic or not rescore:
        place = scores.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        steps = torch.arange(scores.shape[1] + 1, device=scores.device)
        intervened = (place[:, None] < steps[None, :, None]).to(state.intervened)  # (B, G + 1, G)
        return _correct(state.effects.scores(intervened, state.changes), state.target)
    counts = [_correct(state.scores[:, None], state.target)]
    for step in range(scores.shape[1]):
        if step:
            scores = policy.group_scores(state, protocol.reduce or policy.reduce)
        state = state.after(scores.masked_fill(state.intervened > 0, -torch.inf).argmax(1, keepdim=True))
        counts.append(_correct(state.scores[:, None], state.target))
    return torch.cat(counts)


def _correct(scores: Tensor, target: Tensor) -> Tensor:
    """Number of correct rows (S,) for scores (B, S, C)."""
    return (scores.argmax(2) == target[:, None]).sum(0)
