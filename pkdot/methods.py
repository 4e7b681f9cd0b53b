"""The grammar of ``--method``: one distillation loss, or a sum of several with their shares. No import of torch."""

from pkdot.checks import check_choice, check_range
from pkdot.names import names_in


def parse_method(method: str) -> dict[str, float]:
    """Return the losses in a method with their shares.

    A method is a sum of names from ``LOSSES``. A factor before a star is the share of a loss; without one it is 1.

    Args:
        method: for example ``ot``, ``ot+kd`` or ``ot+0.5*kd``.

    Raises:
        ValueError: a name is unknown or appears twice, a share is not a positive number, or ``none`` is combined with
            another loss.

    >>> parse_method("ot+0.5*kd")
    {'ot': 1.0, 'kd': 0.5}
    """
    shares: dict[str, float] = {}
    for part in method.split("+"):
        factor, star, name = part.rpartition("*")
        name = name.strip()
        check_choice("method", name, names_in("pkdot.losses", "LOSSES"))
        try:
            share = float(factor) if star else 1.0
        except ValueError:
            raise ValueError(f"method {part!r}: expected a number before the star, such as 0.5*{name}.") from None
        check_range(f"share of method {name}", share, 0.0, 1e9, open_low=True)
        if name in shares:
            raise ValueError(f"method {method!r} names {name!r} twice.")
        shares[name] = share
    if "none" in shares and len(shares) > 1:
        raise ValueError(f"method {method!r}: none stands alone.")
    return shares
