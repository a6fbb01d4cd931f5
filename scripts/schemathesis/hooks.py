"""Whose token the requests of `scripts/schemathesis.sh` carry: one of `alice`, or none."""

import os
import subprocess
import urllib.parse

import requests
import schemathesis

GATEWAY = os.environ["LPM_REGISTRY_URL"]
ISSUER = os.environ["LPM_DEV_ISSUER_URL"]

# After these the bearer may be dead, so each of their requests has one of its own.
SPENDING = {"rotate_token", "revoke_token", "end_session", "revoke_pairings"}

# What these did to the org is undone, else nobody would be left who may do anything in it.
UNDONE = {"set_role", "remove", "settings"}
ORG = """
select lpm.add_member('acme', handle, role => role)
  from (values ('alice', 'owner'), ('bob', 'developer'), ('carol', 'developer')) m (handle, role);
select lpm.set_sharing('acme', 'developer')
"""

# Five wrong codes are too many for ten minutes, and then no right one would be tried.
MISSES = "delete from lpm.pairing_miss"


def sql(text):
    url = os.environ["LPM_DEV_DATABASE_URL"]
    subprocess.run(["psql", "-Xqc", text, "-v", "ON_ERROR_STOP=1", url], check=True, stdout=subprocess.DEVNULL)


def session():
    """Signs in as a person with a browser and a waiting command line do."""
    page = requests.post(
        f"{GATEWAY}/cli/login",
        params={"port": "41234", "state": "0123456789abcdef" * 2, "dn": "schemathesis"},
        data={"token": os.environ["LPM_TOKEN"]},
        headers={"sec-fetch-site": "same-origin"},
        allow_redirects=False,
    )
    code = urllib.parse.parse_qs(urllib.parse.urlsplit(page.headers["location"]).query)["code"][0]
    answer = requests.post(f"{GATEWAY}/api/cli/exchange", json={"code": code})
    return answer.json()["token"]


def job():
    """Exchanges an identity token as a job of `bob`'s does."""
    claims = {
        "repository": "acme/web",
        "repository_owner": "acme",
        "ref": "refs/heads/main",
        "event_name": "push",
    }
    minted = requests.post(f"{ISSUER}/mint", json={"provider": "github", "claims": claims}).json()["token"]
    body = {"oidcToken": minted, "vaultId": "job", "env": "production", "owner": os.environ["LPM_DEV_OWNER"]}
    return requests.post(f"{GATEWAY}/api/vault/oidc", json=body).json()["token"]


def account():
    return os.environ["LPM_TOKEN"]


KINDS = {"account": account, "session": session, "ci": job}


def kind(operation):
    """The name of the token that the document asks for, or None."""
    security = operation.definition.raw.get("security") or [{}]
    return next(iter(security[0]), None)


if os.environ["LPM_DEV_PLAY"] == "alice":
    held = {}

    @schemathesis.auth(refresh_interval=None)
    class Alice:
        def get(self, case, context):
            operation = context.operation
            wanted = kind(operation)
            if wanted is None:
                return None
            if operation.definition.raw["operationId"] in SPENDING:
                return session()
            if wanted not in held:
                held[wanted] = KINDS[wanted]()
            return held[wanted]

        def set(self, case, token, context):
            case.headers["Authorization"] = f"Bearer {token}"

    @schemathesis.hook
    def after_call(context, case, response):
        # it has ended, of its own or by a request
        if response.status_code == 401:
            held.pop(kind(case.operation), None)
        if response.status_code == 429:
            sql(MISSES)
        if response.status_code == 200 and case.operation.definition.raw["operationId"] in UNDONE:
            sql(ORG)
