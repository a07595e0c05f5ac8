"""Accounts, keys, tokens: what opens the door, and what does not any more."""

import logging

import pytest
from twilio.credential.client_credential_provider import ClientCredentialProvider
from twilio.rest import Client
from twilio.rest.iam.v1.o_auth_app import OAuthAppList


@pytest.fixture
def subaccount(client):
    return client.api.accounts.create(friendly_name="Branch office")


class TestSubaccounts:
    def test_subaccount_is_made_found_and_renamed(self, client, fresh_account, subaccount):
        assert (subaccount.owner_account_sid, subaccount.status, subaccount.type) == (
            fresh_account.sid,
            "active",
            "Full",
        )
        assert {account.sid for account in client.api.accounts.list()} == {fresh_account.sid, subaccount.sid}
        client.api.accounts(subaccount.sid).update(friendly_name="Harbour office")
        assert [found.sid for found in client.api.accounts.list(friendly_name="Harbour office")] == [subaccount.sid]
        assert client.api.accounts.list(status="suspended") == []

    def test_parent_acts_for_the_subaccount(self, server, client, fresh_account, subaccount, handset):
        acting = fresh_account.client(account_sid=subaccount.sid)
        found = acting.available_phone_numbers("US").local.list(limit=1)[0].phone_number
        acting.incoming_phone_numbers.create(phone_number=found)
        sent = acting.messages.create(to=handset.number, from_=found, body="from the branch")
        assert sent.account_sid == subaccount.sid
        assert handset.bodies() == ["from the branch"]
        own = Client(subaccount.sid, subaccount.auth_token)
        assert [message.sid for message in own.messages.list()] == [sent.sid]
        assert client.messages.list() == []

    def test_subaccount_reaches_neither_parent_nor_sibling(self, client, fresh_account, subaccount, refused):
        sibling = client.api.accounts.create()
        own = Client(subaccount.sid, subaccount.auth_token)
        for sid in (fresh_account.sid, sibling.sid):
            with refused(20404, 404):
                own.api.accounts(sid).fetch()
            with refused(20404, 404):
                own.api.accounts(sid).messages("SM" + "0" * 32).fetch()
        with refused(20003, 403):
            own.api.accounts.create()

    def test_suspended_subaccount_looks_but_does_not_touch(self, client, subaccount, refused):
        client.api.accounts(subaccount.sid).update(status="suspended")
        own = Client(subaccount.sid, subaccount.auth_token)
        assert own.messages.list() == []
        with refused(20005, 403):
            own.messages.create(to="+19075550001", from_="+19075550002", body="x")
        with refused(20005, 403):
            own.applications.create(friendly_name="x")
        client.api.accounts(subaccount.sid).update(status="active")
        assert own.applications.create(friendly_name="x").sid

    def test_message_to_a_suspended_account_calls_nobody(
        self, server, client, fresh_account, handset, webhook, sms_webhook
    ):
        sms_webhook(("", 204, {}))
        server.operator(f"/operator/v1/accounts/{fresh_account.sid}/status", {"status": "suspended"})
        handset.send(fresh_account.number, "Hello")
        server.settle()
        assert webhook.is_quiet()

    def test_suspended_account_gets_no_messages_but_hears_stop(self, server, client, fresh_account, handset, refused):
        status = f"/operator/v1/accounts/{fresh_account.sid}/status"
        server.operator(status, {"status": "suspended"})
        assert handset.send(fresh_account.number, "Hello")["sid"] is None
        assert handset.send(fresh_account.number, "STOP")["sid"] is None
        server.operator(status, {"status": "active"})
        assert client.messages.list() == []
        with refused(21610):
            client.messages.create(to=handset.number, from_=fresh_account.number, body="still there?")

    def test_closed_subaccount_stays_closed(self, client, subaccount, refused):
        client.api.accounts(subaccount.sid).update(status="closed")
        with refused(20003, 401):
            Client(subaccount.sid, subaccount.auth_token).messages("SM" + "0" * 32).fetch()
        with refused(21479):
            client.api.accounts(subaccount.sid).update(status="active")
        assert client.api.accounts(subaccount.sid).fetch().status == "closed"

    def test_parent_cannot_change_its_own_status(self, client, fresh_account, refused):
        with refused(21477):
            client.api.accounts(fresh_account.sid).update(status="closed")


class TestKeys:
    def test_standard_key_sends_and_may_not_read_keys(self, client, fresh_account, handset, refused):
        key = client.new_keys.create(friendly_name="worker")
        assert key.sid.startswith("SK")
        with_key = Client(key.sid, key.secret, account_sid=fresh_account.sid)
        with_key.messages.create(to=handset.number, from_=fresh_account.number, body="by key")
        assert handset.bodies() == ["by key"]
        with refused(20003, 403):
            with_key.keys(key.sid).fetch()
        with refused(20003, 403):
            with_key.new_keys.create()
        with refused(20003, 403):
            with_key.api.accounts(fresh_account.sid).fetch()

    def test_main_key_may_make_keys(self, server, fresh_account):
        made = server.operator(f"/operator/v1/accounts/{fresh_account.sid}/main_keys", {"friendly_name": "root"})
        with_key = Client(made["sid"], made["secret"], account_sid=fresh_account.sid)
        key = with_key.new_keys.create(friendly_name="worker")
        assert key.sid in {found.sid for found in with_key.keys.list()}

    def test_key_is_renamed_and_ends_with_its_deletion(self, client, fresh_account, refused):
        key = client.new_keys.create(friendly_name="worker")
        assert client.keys(key.sid).update(friendly_name="night shift").friendly_name == "night shift"
        with_key = Client(key.sid, key.secret, account_sid=fresh_account.sid)
        assert with_key.messages.list() == []
        client.keys(key.sid).delete()
        with refused(20003, 401):
            with_key.messages("SM" + "0" * 32).fetch()

    def test_key_of_the_iam_api_opens_the_same_door(self, client, fresh_account, refused):
        key = client.iam.v1.new_api_key.create(account_sid=fresh_account.sid, friendly_name="iam")
        assert Client(key.sid, key.secret, account_sid=fresh_account.sid).messages.list() == []
        assert client.iam.v1.api_key(key.sid).fetch().friendly_name == "iam"
        assert [found.sid for found in client.iam.v1.get_api_keys.list(account_sid=fresh_account.sid)] == [key.sid]
        assert client.iam.v1.api_key(key.sid).delete() is True
        with refused(20404, 404):
            client.iam.v1.api_key(key.sid).fetch()

    def test_another_accounts_key_opens_nothing_here(self, server, client, fresh_account, refused):
        stranger = server.make_account(with_number=False)
        key = stranger.client().new_keys.create()
        with refused(20404, 404):
            Client(key.sid, key.secret, account_sid=fresh_account.sid).messages("SM" + "0" * 32).fetch()
        with refused(20404, 404):
            client.keys(key.sid).fetch()


class TestTokens:
    def test_promoted_token_opens_and_signs_in_place_of_the_old_one(
        self, client, fresh_account, handset, webhook, sms_webhook, refused
    ):
        sms_webhook(("", 204, {}))
        token = client.accounts.v1.secondary_auth_token().create().secondary_auth_token
        renewed = fresh_account.client(password=token)
        assert renewed.messages.list() == client.messages.list() == []
        handset.send(fresh_account.number, "signed with the old one")
        webhook.heard()
        assert renewed.accounts.v1.auth_token_promotion().update().auth_token == token
        webhook.trust(fresh_account, token)
        with refused(20003, 401):
            client.messages("SM" + "0" * 32).fetch()
        handset.send(fresh_account.number, "signed with the new one")
        webhook.heard()
        assert len(renewed.messages.list()) == 2

    def test_deleted_secondary_token_opens_nothing(self, client, fresh_account, refused):
        token = client.accounts.v1.secondary_auth_token().create().secondary_auth_token
        assert client.accounts.v1.secondary_auth_token().delete() is True
        with refused(20003, 401):
            fresh_account.client(password=token).messages("SM" + "0" * 32).fetch()
        assert client.messages.list() == []


class TestOAuth:
    @pytest.fixture
    def app(self, client):
        wanted = {"type": "account", "friendly_name": "batch"}
        request = OAuthAppList.IamV1AccountVendorOauthAppCreateRequest(wanted)
        return client.iam.v1.o_auth_apps.create(request)

    def test_client_credentials_open_the_account(self, fresh_account, app, handset, caplog):
        # The SDK logs at INFO that it fetches a token; nothing of it may reach our output.
        caplog.set_level(logging.WARNING)
        provider = ClientCredentialProvider(app.sid, app.secret)
        bearer = Client(account_sid=fresh_account.sid, credential_provider=provider)
        sent = bearer.messages.create(to=handset.number, from_=fresh_account.number, body="by bearer token")
        assert handset.bodies() == ["by bearer token"]
        assert bearer.messages(sent.sid).fetch().status == "delivered"

    def test_bearer_token_manages_no_keys_and_no_other_account(self, server, fresh_account, app, refused):
        bearer = Client(
            account_sid=fresh_account.sid, credential_provider=ClientCredentialProvider(app.sid, app.secret)
        )
        with refused(20003, 403):
            bearer.new_keys.create()
        with refused(20404, 404):
            bearer.api.accounts(server.account_sid).messages("SM" + "0" * 32).fetch()

    def test_wrong_secret_gets_no_token(self, fresh_account, app, refused):
        bearer = Client(account_sid=fresh_account.sid, credential_provider=ClientCredentialProvider(app.sid, "0" * 32))
        with refused(322402, 401):
            bearer.messages("SM" + "0" * 32).fetch()

    def test_deleted_app_ends_its_tokens(self, client, fresh_account, app, refused):
        bearer = Client(
            account_sid=fresh_account.sid, credential_provider=ClientCredentialProvider(app.sid, app.secret)
        )
        assert bearer.messages.list() == []
        client.iam.v1.o_auth_apps(app.sid).delete()
        with refused(20003, 401):
            bearer.messages("SM" + "0" * 32).fetch()
