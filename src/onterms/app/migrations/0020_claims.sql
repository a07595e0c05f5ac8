-- What claims are decided by: the catalogue's stages and providers, measurements and terms of service levels.
-- The claims themselves are cases; see onterms/business/claims.

CREATE TABLE service_catalogue (
    service       text COLLATE "C" PRIMARY KEY,
    stage         text NOT NULL CHECK (stage IN ('alpha', 'beta', 'limited', 'preview', 'ga')),
    provider      text NOT NULL CHECK (provider IN ('operator', 'affiliate', 'third_party')),
    -- The version of a third party's own terms that must be accepted before the service is enabled.
    terms_version text NOT NULL,
    updated_at    timestamptz NOT NULL
);

CREATE TABLE service_terms_accepted (
    customer_sid  text COLLATE "C" NOT NULL REFERENCES customers (customer_sid),
    service       text COLLATE "C" NOT NULL,
    terms_version text NOT NULL,
    actor         text NOT NULL,
    at            timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, service, terms_version)
);

CREATE TABLE services_enabled (
    customer_sid text COLLATE "C" NOT NULL REFERENCES customers (customer_sid),
    service      text COLLATE "C" NOT NULL,
    at           timestamptz NOT NULL,
    PRIMARY KEY (customer_sid, service)
);

-- Units: threshold in millionths of the month's minutes, credit in hundredths of the month's fees.
CREATE TABLE sla_terms (
    service        text COLLATE "C" NOT NULL,
    from_month     date NOT NULL,
    threshold_ppm  integer NOT NULL CHECK (threshold_ppm BETWEEN 0 AND 1000000),
    credit_percent integer NOT NULL CHECK (credit_percent BETWEEN 0 AND 100),
    PRIMARY KEY (service, from_month)
);

-- Probes and real requests of a minute, kept whether or not anybody claims.
CREATE TABLE service_minutes (
    service text COLLATE "C" NOT NULL,
    minute  timestamptz NOT NULL,
    tried   bigint NOT NULL CHECK (tried >= 0),
    failed  bigint NOT NULL CHECK (failed BETWEEN 0 AND tried),
    PRIMARY KEY (service, minute)
);
