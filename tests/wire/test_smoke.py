def test_x(server, fresh_account, client, handset):
    m = client.messages.create(to=handset.number, from_=fresh_account.number, body="hi")
    assert m.status == "queued"
    assert handset.bodies() == ["hi"]
    assert client.messages(m.sid).fetch().status == "delivered"
