"""The intervention policies of the literature by name: which concept group to request next."""

from collections.abc import Sequence

from zoo.core.module import SelfInterpretable
from zoo.interventions.cached_evidence import CachedEvidence
from zoo.interventions.policies.base import Policy
from zoo.interventions.policies.by_concept import LCP, Entropy, Random, Uncertainty
from zoo.interventions.policies.by_effect import CCTP, ECTP, EUDTP, CooP, Greedy
from zoo.interventions.policies.trained import Learned, ValidationError, ValidationImprovement
from zoo.utils.errors import did_you_mean

POLICIES: dict[str, type[Policy]] = {
    policy.name: policy
    for policy in (
        Random,
        Uncertainty,
        Entropy,
        LCP,
        CCTP,
        ECTP,
        EUDTP,
        CooP,
        Greedy,
        Learned,
        ValidationError,
        ValidationImprovement,
    )
}


def check_names(names: Sequence[str]) -> None:
    """Refuses unknown names of policies; "all" is allowed as the only name.

    Raises:
        ValueError: an unknown name; the message has the nearest one.
    """
    if "all" in names and len(names) > 1:
        raise ValueError(f"'all' selects every intervention policy and must be the only name; got {', '.join(names)}.")
    for name in names:
        if name not in POLICIES and name != "all":
            raise ValueError(f"no intervention policy named '{name}'; {did_you_mean(name, ['all', *POLICIES])}")


def make_policies(names: Sequence[str], model: SelfInterpretable, cached: CachedEvidence) -> list[Policy]:
    """The policies of these names; of "all", those whose requirements the model meets.

    Raises:
        ValueError: an unknown name, or a policy whose requirements the model does not meet.
    """
    check_names(names)
    if list(names) == ["all"]:
        return [policy for kind in POLICIES.values() if not (policy := kind()).missing(model, cached)]
    policies = [POLICIES[name]() for name in names]
    for policy in policies:
        if missing := policy.missing(model, cached):
            raise ValueError(
                f"the policy '{policy.name}' needs {missing}; {type(model).__name__} has none. Leave it out."
            )
    return policies


__all__ = [
    "POLICIES",
    "CooP",
    "Policy",
    "Random",
    "ValidationError",
    "ValidationImprovement",
    "check_names",
    "make_policies",
]
