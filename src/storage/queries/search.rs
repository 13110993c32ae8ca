//! Listings of certificates. By time of issue they are a walk over rows; by end of validity one over the index of ends, unless what is asked
//! for is so little that it can be put in order.

use diesel_async::RunQueryDsl;

use super::statement::Bind;
use super::walk::{Clause, Fragment, Index, Range, Source, WINDOW, Walk, take_few};
use super::{Connection, dialect};
use crate::error::{Error, Result};
use crate::storage::rows::{CERTIFICATE_COLUMNS, CertificateRow, STATE_ON_HOLD, STATE_REVOKED, STATE_VALID};
use crate::storage::{
    CertificateFilter, CertificateRecord, CertificateStatus, NameFilter, Page, PageRequest, SortKey, names, row_numbers,
};
use crate::x509::NameType;

const TABLE: &str = "certificates";
/// The most certificates that are put in the order of their ends for a page.
const SORTED_BY_END: i64 = 3000;
/// Room for those that are recorded between the counting and the page.
const ROOM: i64 = 1000;

const REQUESTER: Index = of_certificates("certificates_requester", &["requester"]);
const PROFILE: Index = of_certificates("certificates_profile", &["profile"]);
const ISSUER: Index = of_certificates("certificates_issuer", &["issuer_id"]);
const STATE: Index = Index { partial: Some("state <> 0"), ..of_certificates("certificates_state", &["state"]) };
const NAME: Index = Index {
    table: "certificate_names",
    name: Some("certificate_names_search"),
    columns: &["search_key"],
    row: "certificate_id",
    partial: None,
};
const LABEL: Index = Index {
    table: "certificate_labels",
    name: dialect::LABELS,
    columns: &["key", "value"],
    row: "certificate_id",
    partial: None,
};

const fn of_certificates(name: &'static str, columns: &'static [&'static str]) -> Index {
    Index { table: TABLE, name: Some(name), columns, row: "id", partial: None }
}

/// A number of seconds or rows as read.
#[derive(Debug, diesel::QueryableByName)]
struct Place {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    number: i64,
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    not_after: i64,
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    id: i64,
}

/// Lists certificates.
pub(in super::super) async fn certificates(
    connection: &mut Connection,
    filter: CertificateFilter,
    page: PageRequest,
) -> Result<Page<CertificateRecord>> {
    if filter.issuer_ids.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Page { items: Vec::new(), next: None });
    }
    let issued = Range {
        low: filter.issued_after.map_or(-1, |moment| row_numbers::certificates_of(moment.unix()).start() - 1),
        high: filter.issued_before.map_or(i64::MAX, |moment| *row_numbers::certificates_of(moment.unix()).start()),
    };
    let ends = Ends::of(&filter)?;
    match page.sort {
        SortKey::IssuedAt => by_issue(connection, clauses(filter, Some(&ends))?, issued, page).await,
        SortKey::NotAfter => by_end(connection, clauses(filter, None)?, issued, ends, page).await,
    }
}

async fn by_issue(
    connection: &mut Connection,
    clauses: Vec<Clause>,
    issued: Range,
    page: PageRequest,
) -> Result<Page<CertificateRecord>> {
    let range = issued.behind(page.after.map(|(_issued_at, row)| row), page.descending);
    let walk = Walk::choose(connection, TABLE, clauses, range, page.descending).await?;
    let rows: Vec<CertificateRow> = walk.page(CERTIFICATE_COLUMNS, page.limit).load(connection).await?;
    let numbers: Vec<i64> = rows.iter().map(CertificateRow::id).collect();
    let next = walk.next(connection, page.limit, &numbers).await?;
    Ok(Page { items: records(rows)?, next: next.map(|row| (row_numbers::issued_at(row), row)) })
}

fn records(rows: Vec<CertificateRow>) -> Result<Vec<CertificateRecord>> {
    rows.into_iter().map(CertificateRow::into_record).collect()
}

async fn by_end(
    connection: &mut Connection,
    mut clauses: Vec<Clause>,
    issued: Range,
    ends: Ends,
    page: PageRequest,
) -> Result<Page<CertificateRecord>> {
    if issued.low >= 0 || issued.high < i64::MAX {
        let condition = Fragment::new("certificates.id > ? AND certificates.id < ?").bind(issued.low).bind(issued.high);
        clauses.push(Clause::exactly(condition, Source::Table(TABLE)));
    }
    let (few, conditions) = take_few(connection, clauses, issued, SORTED_BY_END).await?;
    let conditions = |mut fragment: Fragment| {
        for condition in &conditions {
            fragment = fragment.sql(" AND ").then(condition.clone());
        }
        fragment
    };
    let direction = if page.descending { "DESC" } else { "ASC" };
    let range = ends.range("certificates.not_after, certificates.id", &page);
    // Without columns that are not sorted by: those of the page are read by row behind it.
    let places = "SELECT certificates.id, certificates.not_after FROM (";
    let (page_rows, order, window) = match few {
        Some(source) => {
            let found = match source.rows(TABLE, issued, true, SORTED_BY_END + ROOM) {
                Some((rows, _order)) => {
                    Fragment::new(places).then(rows).sql(&format!(") AS {TABLE} WHERE ")).then(range)
                }
                None => Fragment::new(format!("{places}SELECT DISTINCT id FROM ("))
                    .then(source.any(issued, SORTED_BY_END + ROOM))
                    .sql(&format!(") AS few) AS walk {} AND ", dialect::rows_of("walk", TABLE)))
                    .then(range),
            };
            // The offset keeps the planner from walking the index of ends until it has met enough of the few.
            let found = conditions(found).sql(&format!(" LIMIT {} OFFSET 0", SORTED_BY_END + ROOM));
            let order = format!(" ORDER BY not_after {direction}, id {direction}");
            (Fragment::new("SELECT id, not_after FROM (").then(found).sql(") AS found"), order, None)
        }
        None => {
            let window = ends.window(&page, "not_after, id");
            let (found, walk) = if dialect::ROWS_WITH_ENTRIES {
                let rows = Fragment::new(places).then(ends.window(&page, "*"));
                (rows.sql(&format!(") AS {TABLE} WHERE TRUE")), TABLE)
            } else {
                let walked = Fragment::new(places).then(window.clone());
                (walked.sql(&format!(") AS walk {}", dialect::rows_of("walk", TABLE))), "walk")
            };
            let order = dialect::order_of_walk(&[format!("{walk}.not_after"), format!("{walk}.id")], direction);
            (conditions(found), order, Some(window))
        }
    };
    let rows: Vec<CertificateRow> = Fragment::new(format!("SELECT {CERTIFICATE_COLUMNS} FROM ("))
        .then(page_rows)
        .sql(&order)
        .sql(" LIMIT ?")
        .bind(i64::from(page.limit))
        .sql(&format!(") AS page {}", dialect::rows_of("page", "certificates")))
        .sql(&format!(" ORDER BY page.not_after {direction}, page.id {direction}"))
        .statement()
        .load(connection)
        .await?;
    let items = records(rows)?;
    let next = match items.last().filter(|_| items.len() >= usize::from(page.limit)) {
        Some(last) => Some((last.not_after.unix(), last.id)),
        None => match window {
            None => None,
            Some(window) => last_of(connection, window, page.descending).await?,
        },
    };
    Ok(Page { items, next })
}

/// Returns the last place of a window that is full.
async fn last_of(connection: &mut Connection, window: Fragment, descending: bool) -> Result<Option<(i64, i64)>> {
    let backwards = if descending { "ASC" } else { "DESC" };
    let places: Vec<Place> = Fragment::new("SELECT COUNT(*) OVER () AS number, not_after, id FROM (")
        .then(window)
        .sql(&format!(") AS walk ORDER BY not_after {backwards}, id {backwards} LIMIT 1"))
        .statement()
        .load(connection)
        .await?;
    Ok(places.as_slice().first().filter(|place| place.number >= WINDOW).map(|place| (place.not_after, place.id)))
}

/// The ends that are asked for, from the first to before the second.
#[derive(Clone, Copy, Debug)]
struct Ends {
    from: i64,
    to: i64,
    /// Whether the range is more than that of a status.
    asked: bool,
}

impl Ends {
    fn of(filter: &CertificateFilter) -> Result<Self> {
        let mut ends = Self { from: i64::MIN, to: i64::MAX, asked: false };
        if let Some(moment) = filter.expires_after {
            ends = Self { from: moment.unix(), asked: true, ..ends };
        }
        if let Some(moment) = filter.expires_before {
            ends = Self { to: moment.unix(), asked: true, ..ends };
        }
        let Some(status) = filter.status else { return Ok(ends) };
        let now = filter.now.ok_or_else(|| Error::internal("a filter by status needs the moment it is asked for"))?;
        // `not_after` is the last second of validity.
        match status {
            CertificateStatus::Valid | CertificateStatus::OnHold => ends.from = ends.from.max(now.unix()),
            CertificateStatus::Expired => ends.to = ends.to.min(now.unix()),
            CertificateStatus::Revoked => {}
        }
        Ok(ends)
    }

    const fn is_all(self) -> bool {
        self.from == i64::MIN && self.to == i64::MAX
    }

    /// The condition that a certificate ends within the range and behind the page before.
    fn range(self, columns: &str, page: &PageRequest) -> Fragment {
        let (mut low, mut high) = ((self.from, i64::MIN), (self.to, i64::MIN));
        match page.after {
            Some(after) if page.descending => high = high.min(after),
            Some(after) => low = low.max(after),
            None => {}
        }
        // The bounds of the first column beside those of the pair: SQLite reads only these as the ends of a range.
        Fragment::new(format!("({columns}) > (?, ?) AND ({columns}) < (?, ?) AND not_after >= ? AND not_after <= ?"))
            .bind(low.0)
            .bind(low.1)
            .bind(high.0)
            .bind(high.1)
            .bind(low.0)
            .bind(high.0)
    }

    /// Selects the window of a page over the index of ends.
    fn window(self, page: &PageRequest, columns: &str) -> Fragment {
        let direction = if page.descending { "DESC" } else { "ASC" };
        Fragment::new(format!("SELECT {columns} FROM certificates{} WHERE ", dialect::indexed_by(&BY_END)))
            .then(self.range("not_after, id", page))
            .sql(&format!(" ORDER BY not_after {direction}, id {direction} LIMIT {WINDOW}"))
    }
}

const BY_END: Index = of_certificates("certificates_not_after", &["not_after"]);

/// Turns the filter into conditions; that of ends only when rows are not walked by end.
fn clauses(filter: CertificateFilter, ends: Option<&Ends>) -> Result<Vec<Clause>> {
    let mut clauses = Vec::new();
    let mut octets = |column: &str, value: Vec<u8>, source: fn(Fragment) -> Source| {
        let condition = Fragment::new(format!("certificates.{column} = ?")).bind(value.clone());
        let select = Fragment::new(format!("SELECT id FROM certificates WHERE {column} = ?")).bind(value);
        clauses.push(Clause::exactly(condition, source(select)));
    };
    if let Some(serial) = filter.serial {
        octets("serial", serial.as_bytes().to_vec(), Source::Few);
    }
    if let Some(fingerprint) = filter.fingerprint_sha256 {
        octets("fingerprint_sha256", fingerprint.to_vec(), Source::Few);
    }
    if let Some(spki) = filter.spki_sha256 {
        // Nothing keeps a key from being certified again and again.
        octets("spki_sha256", spki.to_vec(), Source::Unordered);
    }
    if let Some(name) = filter.name {
        clauses.push(with_name(&name));
    }
    for (key, value) in filter.labels {
        let condition = Fragment::new(
            "EXISTS (SELECT 1 FROM certificate_labels WHERE key = ? AND value = ? \
             AND certificate_id = certificates.id LIMIT 1 OFFSET 0)",
        )
        .bind(key.as_str())
        .bind(value.as_str());
        clauses.push(Clause::exactly(condition, Source::Entries(&LABEL, vec![vec![key.into(), value.into()]])));
    }
    for requester in filter.owner.into_iter().chain(filter.requester) {
        clauses.push(equal(&REQUESTER, "requester", vec![requester.into()]));
    }
    match filter.status {
        None => {}
        Some(CertificateStatus::Valid) => clauses.push(state_is("=", STATE_VALID)),
        Some(CertificateStatus::Expired) => clauses.push(state_is("<>", STATE_REVOKED)),
        Some(CertificateStatus::OnHold) => clauses.push(equal(&STATE, "state", vec![STATE_ON_HOLD.into()])),
        Some(CertificateStatus::Revoked) => clauses.push(equal(&STATE, "state", vec![STATE_REVOKED.into()])),
    }
    if let Some(profile) = filter.profile {
        clauses.push(equal(&PROFILE, "profile", vec![profile.into()]));
    }
    if let Some(issuer_ids) = filter.issuer_ids {
        clauses.push(equal(&ISSUER, "issuer_id", issuer_ids.into_iter().map(|id| Some(id).into()).collect()));
    }
    if let Some(ends) = ends.filter(|ends| !ends.is_all()) {
        clauses.push(with_ends(*ends));
    }
    if let Some(part) = filter.subject {
        let condition = Fragment::new(format!("certificates.subject {} ? ESCAPE '\\'", dialect::LIKE));
        clauses.push(Clause::filter(condition.bind(like_pattern(&part))));
    }
    Ok(clauses)
}

/// The condition that a column has one of some values, which an index finds in the order of rows.
fn equal(index: &'static Index, column: &str, values: Vec<Bind>) -> Clause {
    let marks = vec!["?"; values.len()].join(", ");
    let mut condition = Fragment::new(format!("certificates.{column} IN ({marks})"));
    condition.binds.clone_from(&values);
    Clause::exactly(condition, Source::Entries(index, values.into_iter().map(|value| vec![value]).collect()))
}

fn state_is(operator: &str, state: i16) -> Clause {
    // Written out: there are few, and partial indexes are found by it.
    Clause::filter(Fragment::new(format!("certificates.state {operator} {state}")))
}

fn with_ends(ends: Ends) -> Clause {
    let condition = Fragment::new("certificates.not_after >= ? AND certificates.not_after < ?");
    let condition = condition.bind(ends.from).bind(ends.to);
    if !ends.asked {
        // What is valid or expired is too much to be put in order.
        return Clause::filter(condition);
    }
    let select = format!(
        "SELECT id FROM certificates{} WHERE not_after >= ? AND not_after < ? ORDER BY not_after, id",
        dialect::indexed_by(&BY_END)
    );
    Clause::exactly(condition, Source::Unordered(Fragment::new(select).bind(ends.from).bind(ends.to)))
}

fn with_name(name: &NameFilter) -> Clause {
    let dns = names::type_code(NameType::Dns);
    match name {
        NameFilter::Exact(value) => {
            let (as_dns, as_other) = (names::dns_key(value), names::plain_key(value));
            let condition = Fragment::new(format!(
                "EXISTS (SELECT 1 FROM certificate_names WHERE certificate_id = certificates.id \
                 AND ((type = {dns} AND search_key = ?) OR (type <> {dns} AND search_key = ?)) LIMIT 1 OFFSET 0)"
            ))
            .bind(as_dns.as_str())
            .bind(as_other.as_str());
            let mut lists = vec![vec![as_dns.into()]];
            if as_other != names::dns_key(value) {
                lists.push(vec![as_other.into()]);
            }
            // The index does not know types.
            Clause { condition, source: Some(Source::Entries(&NAME, lists)), exact: false }
        }
        NameFilter::DnsSuffix(suffix) => {
            let (from, to) = names::suffix_range(suffix);
            // `COALESCE` keeps planners from the index of names: of a certificate there are few, below a domain there may be all.
            let condition = Fragment::new(format!(
                "EXISTS (SELECT 1 FROM certificate_names WHERE certificate_id = certificates.id \
                 AND type = {dns} AND COALESCE(search_key, '') >= ? AND COALESCE(search_key, '') < ? LIMIT 1 OFFSET 0)"
            ))
            .bind(from.as_str())
            .bind(to.as_str());
            let select = format!(
                "SELECT certificate_id AS id FROM certificate_names{} WHERE search_key >= ? AND search_key < ? \
                 ORDER BY search_key, certificate_id",
                dialect::indexed_by(&NAME)
            );
            let select = Fragment::new(select).bind(from).bind(to);
            Clause { condition, source: Some(Source::Unordered(select)), exact: false }
        }
    }
}

/// Makes a pattern for LIKE that matches any text with this part, taken literally, in it.
fn like_pattern(part: &str) -> String {
    let mut pattern = String::with_capacity(part.len() + 2);
    pattern.push('%');
    for character in part.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}
