-- Invoices and cancellations of an online shop as the contract's tables. Reads `source` (the file as it is), makes the
-- tables `orders`, `claims` and `labels`. Every fact and every signal of an invoice rests on rows strictly before its
-- time or on the invoice itself; only `labels` looks ahead, and says from when on.

-- What cannot be tied to a customer has no history and no later cancellation. Times carry no zone and are read as UTC.
CREATE TABLE lines AS
SELECT
    InvoiceNo AS invoice, CustomerID::VARCHAR AS buyer, StockCode AS item, Description AS description,
    Quantity::BIGINT AS quantity, round(UnitPrice * 100)::BIGINT AS pence, Country AS country,
    InvoiceDate::TIMESTAMP AT TIME ZONE 'UTC' AS moment,
    starts_with(InvoiceNo, 'C') AS cancels
FROM source
WHERE CustomerID IS NOT NULL;

-- A few invoices carry two times a minute apart; all of their lines count from the first. Free lines (price 0) stay:
-- they can be cancelled like any other.
CREATE TABLE bought AS
SELECT * REPLACE (min(moment) OVER (PARTITION BY invoice) AS moment), quantity * pence AS value
FROM lines
WHERE NOT cancels AND quantity > 0 AND pence >= 0;

CREATE TABLE cancelled AS
SELECT *, abs(quantity * pence) AS value FROM lines WHERE cancels;

-- Running totals after each moment: of an item, of a customer, of an item with a customer.
CREATE TABLE past AS
SELECT buyer, item, moment, 1 AS bought, 0 AS cancelled, value AS paid, 0 AS returned, NULL AS cancelled_at FROM bought
UNION ALL
SELECT buyer, item, moment, 0, 1, 0, value, moment FROM cancelled;

CREATE TABLE past_of_item AS
SELECT DISTINCT item, moment, sum(bought) OVER so_far AS bought, sum(cancelled) OVER so_far AS cancelled
FROM past WINDOW so_far AS (PARTITION BY item ORDER BY moment RANGE UNBOUNDED PRECEDING);

CREATE TABLE past_of_buyer_and_item AS
SELECT DISTINCT
    buyer, item, moment, sum(bought) OVER so_far AS bought, sum(cancelled) OVER so_far AS cancelled
FROM past WINDOW so_far AS (PARTITION BY buyer, item ORDER BY moment RANGE UNBOUNDED PRECEDING);

CREATE TABLE past_of_buyer AS
SELECT DISTINCT
    buyer, moment, sum(bought) OVER so_far AS bought, sum(cancelled) OVER so_far AS cancelled,
    sum(paid) OVER so_far AS paid, sum(returned) OVER so_far AS returned,
    max(cancelled_at) OVER so_far AS cancelled_at, min(moment) OVER so_far AS first_seen
FROM past WINDOW so_far AS (PARTITION BY buyer ORDER BY moment RANGE UNBOUNDED PRECEDING);

-- One cancelled line in fifty is what is assumed of an item of which little is known yet.
CREATE TABLE judged AS
SELECT
    bought.*, (coalesce(of_item.cancelled, 0) + 0.4) / (coalesce(of_item.bought, 0) + 20) AS item_rate,
    coalesce(own.bought, 0) > 0 AS again, coalesce(own.cancelled, 0) > 0 AS cancelled_before
FROM bought
ASOF LEFT JOIN past_of_item AS of_item ON bought.item = of_item.item AND bought.moment > of_item.moment
ASOF LEFT JOIN past_of_buyer_and_item AS own
    ON bought.buyer = own.buyer AND bought.item = own.item AND bought.moment > own.moment;

CREATE TABLE invoices AS
SELECT
    invoice, any_value(buyer) AS buyer, min(moment) AS moment, sum(value)::BIGINT AS value,
    arg_max(item, (value, item)) AS item, arg_max(description, (value, item)) AS description,
    count(*) AS x_lines, count(DISTINCT item) AS x_items, sum(quantity)::BIGINT AS x_quantity,
    max(quantity) AS x_largest_quantity, median(quantity) AS x_median_quantity, max(pence) AS x_largest_price,
    sum(pence)::DOUBLE / count(*) AS x_mean_price, max(value) AS x_largest_line,
    max(value) / nullif(sum(value), 0)::DOUBLE AS x_largest_share,
    sum(value)::DOUBLE / sum(quantity) AS x_price_per_piece,
    coalesce(sum(value) FILTER (item IN ('POST', 'C2', 'DOT')), 0)::BIGINT AS x_postage, min(country) AS x_country,
    avg(item_rate) AS x_item_rate_mean, max(item_rate) AS x_item_rate_max, sum(item_rate) AS x_item_rate_sum,
    sum(item_rate * value) / nullif(sum(value), 0)::DOUBLE AS x_item_rate_by_value,
    count(*) FILTER (again) / count(*) AS x_share_bought_before,
    count(*) FILTER (cancelled_before) AS x_items_cancelled_before
FROM judged
GROUP BY invoice;

CREATE TABLE claims AS
SELECT
    invoice AS claim_id, invoice AS order_id, invoices.moment AS submitted_at, invoices.buyer AS buyer_id,
    'shop' AS merchant_id, value AS amount, 'GBP' AS currency, invoices.item AS item_id,
    CASE
        WHEN item IN ('POST', 'C2', 'DOT') THEN 'service.postage'
        WHEN NOT regexp_matches(item, '^[0-9]') THEN 'service.other'
        ELSE 'goods.' || coalesce(nullif(regexp_extract(lower(description), '\b('
            || 'bag|bottle|bowl|box|bunting|candle|card|case|clock|cutlery|decoration|doormat|drawer|frame|holder|jar|'
            || 'kit|lamp|lantern|light|mirror|mug|set|sign|stand|tin|tray|wrap)s?\b', 1), ''), 'other')
    END AS category,
    coalesce(past.first_seen, invoices.moment) AS registered_at,
    invoices.* EXCLUDE (invoice, buyer, moment, value, item, description),
    coalesce(past.bought, 0) AS x_buyer_lines, coalesce(past.cancelled, 0) AS x_buyer_cancelled_lines,
    past.cancelled / nullif(past.bought, 0)::DOUBLE AS x_buyer_cancelled_share,
    past.returned / nullif(past.paid, 0)::DOUBLE AS x_buyer_cancelled_value_share,
    epoch(invoices.moment - past.cancelled_at) / 3600 AS x_hours_since_cancellation
FROM invoices
ASOF LEFT JOIN past_of_buyer AS past ON invoices.buyer = past.buyer AND invoices.moment > past.moment
ORDER BY submitted_at, claim_id;

CREATE TABLE orders AS
SELECT
    order_id, buyer_id, merchant_id, submitted_at AS paid_at, amount AS paid_amount, currency, item_id, category
FROM claims
ORDER BY paid_at, order_id;

-- A cancellation in the very minute of the invoice cannot be told from one of an earlier purchase: it does not count.
-- Where the data end before the sixty days do, nobody can say yet that nothing will be cancelled: no label.
CREATE TABLE labels AS
WITH outcomes AS (
    SELECT invoices.invoice, invoices.moment, min(cancelled.moment) AS cancelled_at
    FROM invoices
    JOIN bought USING (invoice)
    LEFT JOIN cancelled
        ON cancelled.buyer = bought.buyer AND cancelled.item = bought.item
        AND cancelled.moment > invoices.moment AND cancelled.moment <= invoices.moment + INTERVAL 60 DAY
    GROUP BY ALL
)
SELECT
    invoice AS claim_id, coalesce(cancelled_at, moment + INTERVAL 60 DAY) AS known_at,
    if(cancelled_at IS NULL, 'legitimate', 'abuse') AS label,
    if(cancelled_at IS NULL, 'no cancellation in 60 days', 'cancellation') AS source
FROM outcomes
WHERE cancelled_at IS NOT NULL OR moment + INTERVAL 60 DAY <= (SELECT max(moment) FROM lines)
ORDER BY known_at, claim_id;
