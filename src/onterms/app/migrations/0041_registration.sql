-- Registered senders: brands, their vettings, campaigns, the numbers of campaigns, toll-free verifications, daily caps.

CREATE TABLE registration_brands (
    account_sid          text COLLATE "C" NOT NULL,
    sid                  text COLLATE "C" NOT NULL,
    customer_profile_sid text COLLATE "C" NOT NULL,
    a2p_profile_sid      text COLLATE "C" NOT NULL,
    brand_type           text        NOT NULL CHECK (brand_type IN ('STANDARD', 'SOLE_PROPRIETOR')),
    status               text        NOT NULL,
    -- The registry's name for it, empty until it has one.
    tcr_id               text        NOT NULL DEFAULT '',
    failure_reason       text        NOT NULL DEFAULT '',
    errors               jsonb       NOT NULL DEFAULT '[]',
    brand_score          int,
    brand_feedback       jsonb       NOT NULL DEFAULT '[]',
    identity_status      text        NOT NULL DEFAULT 'SELF_DECLARED',
    russell_3000         boolean     NOT NULL DEFAULT false,
    government_entity    boolean     NOT NULL DEFAULT false,
    tax_exempt_status    text        NOT NULL DEFAULT '',
    skips_vetting        boolean     NOT NULL,
    mock                 boolean     NOT NULL,
    -- How often it was handed in again.
    updates              int         NOT NULL DEFAULT 0,
    submitted_at         timestamptz NOT NULL,
    date_created         timestamptz NOT NULL,
    date_updated         timestamptz NOT NULL,
    PRIMARY KEY (account_sid, sid)
);
CREATE INDEX registration_brands_profiles ON registration_brands (account_sid, customer_profile_sid);

CREATE TABLE registration_vettings (
    account_sid  text COLLATE "C" NOT NULL,
    brand_sid    text COLLATE "C" NOT NULL,
    sid          text COLLATE "C" NOT NULL,
    provider     text        NOT NULL,
    class        text        NOT NULL,
    -- The provider's name for it: given with a token that is imported, else by the provider.
    vetting_id   text        NOT NULL,
    status       text        NOT NULL,
    date_created timestamptz NOT NULL,
    date_updated timestamptz NOT NULL,
    PRIMARY KEY (account_sid, brand_sid, sid),
    FOREIGN KEY (account_sid, brand_sid) REFERENCES registration_brands (account_sid, sid) ON DELETE CASCADE
);

CREATE TABLE registration_campaigns (
    account_sid  text COLLATE "C" NOT NULL,
    sid          text COLLATE "C" NOT NULL,
    service_sid  text COLLATE "C" NOT NULL,
    -- Null for a campaign that was registered elsewhere.
    brand_sid    text COLLATE "C",
    campaign_id  text        NOT NULL DEFAULT '',
    usecase      text        NOT NULL,
    details      jsonb       NOT NULL,
    status       text        NOT NULL,
    errors       jsonb       NOT NULL DEFAULT '[]',
    is_external  boolean     NOT NULL,
    mock         boolean     NOT NULL,
    submitted_at timestamptz NOT NULL,
    -- Since when its months are charged, and when the next one begins; null where none is.
    charged_from timestamptz,
    renews_at    timestamptz,
    date_created timestamptz NOT NULL,
    date_updated timestamptz NOT NULL,
    PRIMARY KEY (account_sid, sid)
);
CREATE UNIQUE INDEX registration_campaigns_services ON registration_campaigns (account_sid, service_sid);

CREATE TABLE registration_numbers (
    account_sid  text COLLATE "C" NOT NULL,
    campaign_sid text COLLATE "C" NOT NULL,
    number       text COLLATE "C" NOT NULL,
    status       text        NOT NULL,
    error_code   int,
    submitted_at timestamptz NOT NULL,
    PRIMARY KEY (account_sid, campaign_sid, number),
    FOREIGN KEY (account_sid, campaign_sid) REFERENCES registration_campaigns (account_sid, sid) ON DELETE CASCADE
);
CREATE UNIQUE INDEX registration_numbers_once ON registration_numbers (account_sid, number);

CREATE TABLE registration_tollfree (
    account_sid           text COLLATE "C" NOT NULL,
    sid                   text COLLATE "C" NOT NULL,
    number_sid            text COLLATE "C" NOT NULL,
    number                text COLLATE "C" NOT NULL,
    customer_profile_sid  text COLLATE "C",
    external_reference_id text,
    -- What the customer says of itself and of what it sends, by the names of the resource.
    details               jsonb       NOT NULL,
    status                text        NOT NULL,
    reasons               jsonb       NOT NULL DEFAULT '[]',
    edit_allowed          boolean,
    edit_expiration       timestamptz,
    regulated_item_sid    text COLLATE "C" NOT NULL,
    submitted_at          timestamptz NOT NULL,
    date_created          timestamptz NOT NULL,
    date_updated          timestamptz NOT NULL,
    PRIMARY KEY (account_sid, sid)
);
CREATE UNIQUE INDEX registration_tollfree_numbers ON registration_tollfree (account_sid, number);

-- What a brand sent on a day to a network that caps it.
CREATE TABLE registration_caps (
    account_sid text COLLATE "C" NOT NULL,
    brand_sid   text COLLATE "C" NOT NULL,
    day         date        NOT NULL,
    segments    bigint      NOT NULL,
    PRIMARY KEY (account_sid, brand_sid, day),
    FOREIGN KEY (account_sid, brand_sid) REFERENCES registration_brands (account_sid, sid) ON DELETE CASCADE
);

-- Whoever remembers how an account's senders stand forgets it on each change.
CREATE FUNCTION registration_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('onterms_registration', coalesce(NEW.account_sid, OLD.account_sid));
    RETURN NULL;
END $$;
CREATE TRIGGER registration_changed AFTER INSERT OR DELETE OR UPDATE OF status, tcr_id, brand_score, russell_3000
    ON registration_brands FOR EACH ROW EXECUTE FUNCTION registration_changed();
CREATE TRIGGER registration_changed AFTER INSERT OR UPDATE OR DELETE ON registration_campaigns
    FOR EACH ROW EXECUTE FUNCTION registration_changed();
CREATE TRIGGER registration_changed AFTER INSERT OR UPDATE OR DELETE ON registration_numbers
    FOR EACH ROW EXECUTE FUNCTION registration_changed();
CREATE TRIGGER registration_changed AFTER INSERT OR UPDATE OR DELETE ON registration_tollfree
    FOR EACH ROW EXECUTE FUNCTION registration_changed();
