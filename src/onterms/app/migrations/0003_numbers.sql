-- The operator's stock of numbers. It belongs to no customer; `holder_sid` is the incoming number that holds a number now.
CREATE TABLE number_inventory (
    phone_number text COLLATE "C" PRIMARY KEY,
    country text COLLATE "C" NOT NULL,
    kind text NOT NULL CHECK (kind IN ('local', 'mobile', 'tollfree')),
    -- Only numbers of the North American plan have one.
    area_code text COLLATE "C",
    region text,
    locality text,
    rate_center text,
    lata text,
    postal_code text,
    latitude double precision,
    longitude double precision,
    voice boolean NOT NULL,
    sms boolean NOT NULL,
    mms boolean NOT NULL,
    fax boolean NOT NULL,
    address_requirements text NOT NULL DEFAULT 'none' CHECK (address_requirements IN ('none', 'any', 'local', 'foreign')),
    beta boolean NOT NULL DEFAULT false,
    -- Names the line of the price list that says what a month costs.
    price_ref text NOT NULL,
    holder_sid text COLLATE "C"
);

CREATE INDEX number_inventory_free ON number_inventory (country, kind, phone_number) WHERE holder_sid IS NULL;
CREATE INDEX number_inventory_free_area ON number_inventory (area_code, phone_number) WHERE holder_sid IS NULL;

-- Numbers that customers hold or held. A released row stays, so that old messages and bills still have a number to name.
CREATE TABLE incoming_numbers (
    account_sid text COLLATE "C" NOT NULL,
    sid text COLLATE "C" NOT NULL,
    phone_number text COLLATE "C" NOT NULL,
    country text COLLATE "C" NOT NULL,
    kind text NOT NULL CHECK (kind IN ('local', 'mobile', 'tollfree')),
    voice boolean NOT NULL,
    sms boolean NOT NULL,
    mms boolean NOT NULL,
    fax boolean NOT NULL,
    address_requirements text NOT NULL,
    beta boolean NOT NULL,
    price_ref text NOT NULL,
    origin text NOT NULL DEFAULT 'twilio',
    friendly_name text NOT NULL,
    api_version text NOT NULL,
    voice_url text NOT NULL,
    voice_method text NOT NULL,
    voice_fallback_url text NOT NULL,
    voice_fallback_method text NOT NULL,
    voice_application_sid text COLLATE "C",
    voice_caller_id_lookup boolean NOT NULL,
    voice_receive_mode text NOT NULL,
    sms_url text NOT NULL,
    sms_method text NOT NULL,
    sms_fallback_url text NOT NULL,
    sms_fallback_method text NOT NULL,
    sms_application_sid text COLLATE "C",
    status_callback text NOT NULL,
    status_callback_method text NOT NULL,
    trunk_sid text COLLATE "C",
    address_sid text COLLATE "C",
    identity_sid text COLLATE "C",
    bundle_sid text COLLATE "C",
    emergency_status text NOT NULL,
    emergency_address_sid text COLLATE "C",
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    released_at timestamptz,
    PRIMARY KEY (account_sid, sid)
);

-- One holder at a time, whatever the stock says.
CREATE UNIQUE INDEX incoming_numbers_held ON incoming_numbers (phone_number) WHERE released_at IS NULL;

CREATE TABLE applications (
    account_sid text COLLATE "C" NOT NULL,
    sid text COLLATE "C" NOT NULL,
    friendly_name text,
    api_version text NOT NULL,
    voice_url text NOT NULL,
    voice_method text NOT NULL,
    voice_fallback_url text NOT NULL,
    voice_fallback_method text NOT NULL,
    voice_caller_id_lookup boolean NOT NULL,
    sms_url text NOT NULL,
    sms_method text NOT NULL,
    sms_fallback_url text NOT NULL,
    sms_fallback_method text NOT NULL,
    sms_status_callback text NOT NULL,
    message_status_callback text NOT NULL,
    status_callback text NOT NULL,
    status_callback_method text NOT NULL,
    public_application_connect_enabled boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (account_sid, sid)
);
