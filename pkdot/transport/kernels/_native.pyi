"""The C extension: the addresses of tensors in, results written to the addresses of others."""

constants: dict[str, float]

def solve_terms(
    x: int,
    y: int,
    a: int,
    b: int,
    problems: int,
    n: int,
    m: int,
    k: int,
    terms: int,
    wide: bool,
    blur: float,
    tol: float,
    max_iter: int,
    threads: int,
    value: int,
    marginal_error: int,
    iterations: int,
    to_x: int,
    to_y: int,
    to_a: int,
    to_b: int,
    /,
) -> None: ...
