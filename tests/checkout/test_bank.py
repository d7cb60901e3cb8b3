"""The payment service: what it promises to the shop, and what it does not."""

import os
import subprocess
import sys
import uuid

import pytest

from tests.checkout.bank import SETTINGS
from tests.server import ROOT
from tests.threads import together

pytestmark = pytest.mark.django_db


@pytest.fixture
def reference() -> str:
    return f"order-{uuid.uuid4().hex}"


class TestCards:
    def test_key_that_comes_again_charges_once(self, bank, reference):
        card = {"reference": reference, "amount": "4.20", "card": "tok_visa"}

        answers = together([lambda: bank.post("/charges/cards/", card, key=reference)] * 8)

        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.content for answer in answers}) == 1
        assert bank.charges(reference) == [answers[0].json()]

    def test_decline_is_remembered(self, bank, reference):
        card = {"reference": reference, "amount": "4.20", "card": "tok_empty"}

        answers = [bank.post("/charges/cards/", card, key=reference) for _ in range(2)]

        assert [(answer.status_code, answer.json()["declined"]) for answer in answers] == [(402, True)] * 2
        assert answers[1].headers["Idempotent-Replayed"] == "true"
        assert bank.charges(reference) == []

    def test_request_without_a_key_is_refused(self, bank, reference):
        card = {"reference": reference, "amount": "4.20", "card": "tok_visa"}

        assert bank.post("/charges/cards/", card).status_code == 400
        assert bank.charges(reference) == []


class TestWires:
    def test_knows_no_keys_and_takes_money_each_time(self, bank, reference):
        wire = {"reference": reference, "amount": "4.20"}

        for _ in range(2):
            assert bank.post("/charges/wires/", wire, key=reference).status_code == 201

        assert [charge["way"] for charge in bank.charges(reference)] == ["wire", "wire"]


class TestRefunds:
    def test_key_that_comes_again_refunds_once(self, bank, reference):
        charge = bank.post("/charges/wires/", {"reference": reference, "amount": "4.20"}).json()
        path = f"/charges/{charge['id']}/refunds/"

        answers = [bank.post(path, {}, key=key).status_code for key in (reference, reference, reference + "-2")]

        assert answers == [201, 201, 410]
        assert [found["refunded"] for found in bank.charges(reference)] == [True]


class TestCharges:
    def test_are_shown_to_merchants_alone(self, bank):
        assert bank.client.get("/charges/", headers={"Authorization": "Bearer x"}).status_code == 401


@pytest.mark.engine("sqlite")
class TestProject:
    @pytest.mark.parametrize(
        "command",
        ["check --fail-level WARNING", "makemigrations --check --dry-run", "idempotency_endpoints --check"],
    )
    def test_command_finds_nothing_wrong(self, command):
        environment = {**os.environ, "DJANGO_SETTINGS_MODULE": SETTINGS, "BANK_DATABASE_URL": "sqlite:///:memory:"}

        subprocess.run([sys.executable, "manage.py", *command.split()], cwd=ROOT, check=True, env=environment)
