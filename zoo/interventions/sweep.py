"""Interventions: correct one concept group after another and see how the accuracy moves.

Everything works on cached evidence, so that the network runs once, however many policies, orders and answers follow:

    cached = cache(model, data.test_dataloader())
    curves = sweep(model, cached, make_policies(["random", "coop"], model, cached))
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from zoo.domain import Domain
from zoo.interventions.annotator import Cached, cache, require_annotated
from zoo.interventions.effects import chunk_rows, head_of
from zoo.interventions.policies import CooP, Policy, make_policies
from zoo.interventions.policy_state import Situation
from zoo.interventions.protocol import Curve, Protocol
from zoo.training.modes import evaluating

GRID = (0.1, 1.0, 10.0, 100.0)  # of CooP's alpha and beta


@torch.no_grad()
def sweep(
    model: Any, cached: Cached, policies: Sequence[Policy], protocol: Protocol | None = None, title: str = ""
) -> list[Curve]:
    """One curve for each competence and policy.

    Every chunk of rows goes through all policies and steps before the next, so that what-ifs are prepared once.

    Args:
        model: with annotated concepts.
        cached: its evidence, see `cache`.
        policies: see `zoo.interventions.policies`; those with `fitted` must have been fitted.
        protocol: how to run; the default of `Protocol` if there is none.
        title: what the progress bar says; no bar without one.

    Raises:
        ValueError: a model that cannot be intervened on, an unknown group, or a policy that cannot run this protocol.
    """
    require_annotated(model)
    protocol = protocol or Protocol()
    asked_for = protocol.asked_for(model.domain)
    columns = _columns(asked_for, model.domain, policies)
    members = group_members(asked_for, len(model.domain.concepts), model.device)
    truth, *answers = _answers(cached, model.domain, protocol)
    draw = torch.Generator().manual_seed(protocol.seed)
    noise = torch.rand(protocol.orders, len(cached), len(members), generator=draw)
    orders = [protocol.orders if policy.lucky else 1 for policy in policies]
    right = [[torch.zeros(n, len(members) + 1, dtype=torch.long) for n in orders] for _ in answers]

    size = chunk_rows(model, cached)
    with evaluating(model), tqdm(total=len(cached), desc=title, unit="row", leave=False, disable=not title) as bar:
        for start in range(0, len(cached), size):
            rows = slice(start, start + size)
            part = cached.part(rows, model.device)
            head, truths = head_of(model, part.evidence, members), truth[rows].to(model.device)
            true_gains, luck = head.gains(truths), noise[:, rows].to(model.device)
            for counts, given in zip(right, answers, strict=True):
                labels = given[rows].to(model.device)
                begin = Situation(
                    model=model,
                    head=head,
                    probability=model.concept_probability(part.evidence),
                    truth=truths,
                    target=part.target,
                    answers=labels,
                    gains=head.gains(labels),
                    true_gains=true_gains,
                    asked=members.new_zeros(len(part), len(members)),
                    noise=luck[0],
                    names=tuple(asked_for),
                    columns=columns,
                )
                for policy, count in zip(policies, counts, strict=True):
                    found = [_run(policy, replace(begin, noise=luck[i]), protocol) for i in range(len(count))]
                    count += torch.stack(found).cpu()
            bar.update(len(part))
    return [
        Curve(policy.name, competence, count / len(cached), policy.settings)
        for competence, counts in zip(protocol.competences, right, strict=True)
        for policy, count in zip(policies, counts, strict=True)
    ]


def tune(model: Any, validation: Cached, protocol: Protocol | None = None, title: str = "") -> CooP:
    """The CooP whose alpha and beta, each of `GRID`, reach the highest sum of accuracy (1 - n / G) on validation data.

    Of ties, the smallest alpha and then beta.
    """
    policies = [CooP(alpha, beta) for alpha, beta in product(GRID, GRID)]
    protocol = replace(protocol or Protocol(), competences=(1.0,))
    curves = sweep(model, validation, policies, protocol, title)
    gains = [float((curve.mean * torch.linspace(1, 0, len(curve.mean))).sum()) for curve in curves]
    return policies[max(range(len(gains)), key=gains.__getitem__)]


def _columns(asked_for: Mapping[str, list[int]], domain: Domain, policies: Sequence[Policy]) -> list[int]:
    """Which of the domain's groups each group is; -1 for a concept that is asked for without its group."""
    whole = list(domain.group_columns().values())
    columns = [whole.index(c) if c in whole else -1 for c in asked_for.values()]
    for policy in policies:
        if policy.whole and -1 in columns:
            raise ValueError(
                f"the policy '{policy.name}' asks for whole concept groups; do not ask individually, or leave it out."
            )
    return columns


def group_members(groups: Mapping[str, list[int]], concepts: int, device: torch.device | str = "cpu") -> Tensor:
    """(G, k) in {0, 1}: which concepts each group has."""
    members = torch.zeros(len(groups), concepts)
    for row, columns in zip(members, groups.values(), strict=True):
        row[columns] = 1
    return members.to(device)


def _answers(cached: Cached, domain: Domain, protocol: Protocol) -> list[Tensor]:
    """The truth (N, k), and what each annotator answers."""
    groups = domain.group_columns()
    exclusive = [groups[name] for name in domain.exclusive]
    annotators = protocol.annotators()
    truth = annotators[0].truth(cached, exclusive)
    alone = [] if protocol.individually else exclusive  # one concept at a time can only be denied
    return [truth, *(annotator.answers(truth, alone) for annotator in annotators)]


def _run(policy: Policy, begin: Situation, protocol: Protocol) -> Tensor:
    """(G + 1,): how many rows are right after each number of groups."""
    rescore = policy.rescored if protocol.rescore is None else protocol.rescore
    first = policy.groups(begin, protocol.reduce)
    if policy.lucky or not rescore:
        place = first.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        steps = torch.arange(first.shape[1] + 1, device=first.device)
        asked = (place[:, None] < steps[None, :, None]).to(begin.asked)  # (B, G + 1, G)
        return _right(begin.head.scores(asked, begin.gains), begin.target)
    now, counts = begin, [_right(begin.scores[:, None], begin.target)]
    for step in range(first.shape[1]):
        wanted = first if step == 0 else policy.groups(now, protocol.reduce)
        chosen = wanted.masked_fill(now.asked > 0, -torch.inf).argmax(1, keepdim=True)
        now = now.after(chosen)
        counts.append(_right(now.scores[:, None], now.target))
    return torch.cat(counts)


def _right(scores: Tensor, target: Tensor) -> Tensor:
    return (scores.argmax(2) == target[:, None]).sum(0)


__all__ = ["Curve", "Protocol", "cache", "group_members", "make_policies", "sweep", "tune"]
