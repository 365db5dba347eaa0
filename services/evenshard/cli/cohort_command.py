"""``evenshard cohort save|delete`` and ``evenshard cohorts``: users by what they did, under a name."""

import shlex
from typing import Annotated

import typer

from evenshard.cli.output import GATEWAY_DEFAULT, GatewayOption, JsonOption, print_blocks
from evenshard.cli.query_flags import read_request
from evenshard.cli.query_options import TIMEOUT_DEFAULT, TimeoutOption
from evenshard.cli.values import duration_s
from evenshard.text.table import Lines

app = typer.Typer(help="Save and delete cohorts.", no_args_is_help=True)

TenantOption = Annotated[str, typer.Option(help="Whose.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="As in $cohort:NAME.")]


@app.callback()
def _root() -> None:
    """Save and delete cohorts."""


@app.command()
def save(
    name: NameArgument,
    tenant: TenantOption,
    from_date: Annotated[str, typer.Option("--from", metavar="D", help="First day, YYYY-MM-DD.")],
    to_date: Annotated[str, typer.Option("--to", metavar="D", help="Last day, inclusive.")],
    did: Annotated[
        list[str] | None, typer.Option(metavar="STEP", help='NAME, NAME|NAME or *, perhaps with " where EXPR".')
    ] = None,
    at_least: Annotated[
        list[int] | None, typer.Option(metavar="N", help="How often: once for all, or one for each --did; default 1.")
    ] = None,
    did_not: Annotated[list[str] | None, typer.Option(metavar="STEP", help="What they did not do.")] = None,
    funnel: Annotated[
        str | None, typer.Option(metavar="F.json", help="A funnel as proto3 JSON; dates default to the cohort's.")
    ] = None,
    reached: Annotated[int | None, typer.Option(metavar="N", help="The step of the funnel they reached.")] = None,
    timeout: TimeoutOption = TIMEOUT_DEFAULT,
    gateway: GatewayOption = GATEWAY_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Saves a cohort, or its next version: users with any event in the days for whom all of this holds."""
    from evenshard.client import connect

    timeout_s = duration_s(timeout)
    least = at_least or [1]
    with connect(gateway=gateway) as client:
        document = client.save_cohort(
            name,
            from_date=from_date,
            to_date=to_date,
            did=did or (),
            at_least=least[0] if len(least) == 1 else least,
            did_not=did_not or (),
            funnel=None if funnel is None else read_request(funnel),
            reached=reached,
            tenant=tenant,
            timeout=timeout_s,
        )
    (saved,) = document.cohorts
    used = shlex.quote(f"`$cohort:{saved['name']}` == true")
    hint = Lines([f"to ask about them: --where {used}"])
    print_blocks(document, [*document.blocks(), hint], as_json=json_output)


@app.command()
def delete(
    name: NameArgument,
    tenant: TenantOption,
    timeout: TimeoutOption = TIMEOUT_DEFAULT,
    gateway: GatewayOption = GATEWAY_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Deletes a cohort; shows those that are left."""
    from evenshard.client import connect

    timeout_s = duration_s(timeout)
    with connect(gateway=gateway) as client:
        document = client.delete_cohort(name, tenant=tenant, timeout=timeout_s)
    print_blocks(document, document.blocks(), as_json=json_output)


def cohorts(
    tenant: TenantOption,
    timeout: TimeoutOption = TIMEOUT_DEFAULT,
    gateway: GatewayOption = GATEWAY_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Lists a tenant's cohorts, and how many belong to each now."""
    from evenshard.client import connect

    timeout_s = duration_s(timeout)
    with connect(gateway=gateway) as client:
        document = client.cohorts(tenant=tenant, timeout=timeout_s)
    print_blocks(document, document.blocks(), as_json=json_output)
