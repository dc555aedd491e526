package statement

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/influxdata/influxql"

	"muster/shardmap"
	"muster/shardmap/points/rows"
)

// Action is what a statement asks for: a *[Show], *[Listing], *[Order], *[Deletion] or *[Activity].
type Action interface{ action() }

func (*Show) action()     {}
func (*Listing) action()  {}
func (*Order) action()    {}
func (*Deletion) action() {}
func (*Activity) action() {}

// Order is an entry for the log of group 0; one of the two is set.
type Order struct {
	Database *shardmap.ChangeDatabase
	Policy   *shardmap.ChangePolicy
	// Messages tell what of the statement is not kept.
	Messages []rows.Message
}

// Deletion takes points away: those of measurements, of series whose tags meet a condition, in a span of time.
type Deletion struct {
	Database string
	Policy   string // "": all of them
	// Series asks shards for what it reaches: of [Measurements] all series, of [SeriesKeys] those.
	Series      Request
	First, Last int64 // in nanoseconds since 1970 UTC, both included
}

// Doing is what an [Activity] is about. It is in no bytes.
type Doing int

const (
	// ShowQueries lists the queries that run.
	ShowQueries Doing = iota + 1
	// KillQuery ends one of them.
	KillQuery
	// ShowDiagnostics tells of nodes, and what they run on.
	ShowDiagnostics
	// ShowStats has the counters of nodes.
	ShowStats
)

// Activity is about running queries, and about nodes.
type Activity struct {
	Doing  Doing
	Query  uint64 // for KillQuery: its number
	Host   string // for KillQuery: the node that it runs on; "": the one that was asked
	Module string // for the last two: the part that is asked about; "": all of them
}

// QueryColumns are those of the answer to SHOW QUERIES, whose series has no name.
var QueryColumns = []string{"qid", "query", "database", "duration", "status"}

// RefusedError refuses a statement that has its place elsewhere, or none.
type RefusedError struct {
	Statement string // as in "CREATE USER"
	Remedy    string // what would be right
}

func (e *RefusedError) Error() string { return e.Statement + " is not supported: " + e.Remedy }

// errDatabase is InfluxDB's word for a missing database.
var errDatabase = errors.New("database name required")

// refused is the error of a statement that has its place elsewhere.
func refused(stmt influxql.Statement) error {
	r := func(statement, remedy string) error { return &RefusedError{statement, remedy} }
	const user = `users and what they may do are the cluster's: "muster user", "muster role" and docs/security.md`
	const later = "muster has no continuous queries yet; a client that runs the query in intervals does the same"
	switch stmt.(type) {
	case *influxql.CreateUserStatement:
		return r("CREATE USER", user)
	case *influxql.DropUserStatement:
		return r("DROP USER", user)
	case *influxql.SetPasswordUserStatement:
		return r("SET PASSWORD", user)
	case *influxql.GrantStatement, *influxql.GrantAdminStatement:
		return r("GRANT", user)
	case *influxql.RevokeStatement, *influxql.RevokeAdminStatement:
		return r("REVOKE", user)
	case *influxql.ShowUsersStatement:
		return r("SHOW USERS", user)
	case *influxql.ShowGrantsForUserStatement:
		return r("SHOW GRANTS", user)
	case *influxql.CreateContinuousQueryStatement:
		return r("CREATE CONTINUOUS QUERY", later)
	case *influxql.DropContinuousQueryStatement:
		return r("DROP CONTINUOUS QUERY", later)
	case *influxql.CreateSubscriptionStatement:
		return r("CREATE SUBSCRIPTION", "muster sends points nowhere else yet; write them to both")
	case *influxql.DropSubscriptionStatement:
		return r("DROP SUBSCRIPTION", "there are no subscriptions")
	case *influxql.DropShardStatement:
		return r("DROP SHARD", "shards go with their window, when its policy keeps it no longer; DELETE FROM … WHERE time … takes points away")
	case *influxql.ExplainStatement:
		return r("EXPLAIN", "run the query itself")
	case *influxql.SelectStatement:
		return r("SELECT", "package query answers it")
	}
	return r(fmt.Sprintf("%T", stmt), "see docs/coming-from.md")
}

// Of returns what a statement asks for. database is that of the request, for statements that name none; now, in
// nanoseconds since 1970 UTC, stands for now().
func Of(stmt influxql.Statement, database string, now int64) (Action, error) {
	at := time.Unix(0, now).UTC()
	switch s := stmt.(type) {
	case *influxql.ShowDatabasesStatement:
		return &Show{What: Databases}, nil
	case *influxql.ShowRetentionPoliciesStatement:
		database, err := named(s.Database, database)
		return &Show{What: Policies, Database: database}, err
	case *influxql.ShowShardsStatement:
		return &Show{What: Shards}, nil
	case *influxql.ShowShardGroupsStatement:
		return &Show{What: ShardGroups}, nil
	case *influxql.ShowContinuousQueriesStatement:
		return &Show{What: ContinuousQueries}, nil
	case *influxql.ShowSubscriptionsStatement:
		return &Show{What: Subscriptions}, nil
	case *influxql.ShowQueriesStatement:
		return &Activity{Doing: ShowQueries}, nil
	case *influxql.KillQueryStatement:
		return &Activity{Doing: KillQuery, Query: s.QueryID, Host: s.Host}, nil
	case *influxql.ShowDiagnosticsStatement:
		return &Activity{Doing: ShowDiagnostics, Module: s.Module}, nil
	case *influxql.ShowStatsStatement:
		return &Activity{Doing: ShowStats, Module: s.Module}, nil
	case *influxql.DropMeasurementStatement:
		if database == "" {
			return nil, errDatabase
		}
		return &Deletion{
			Database: database, Series: Request{What: Measurements, Measurements: []string{s.Name}}, First: math.MinInt64, Last: math.MaxInt64,
		}, nil
	case *influxql.DropSeriesStatement:
		return deletion("DROP SERIES", s.Sources, s.Condition, database, at)
	case *influxql.DeleteSeriesStatement:
		return deletion("DELETE", s.Sources, s.Condition, database, at)
	}
	if order, ok, err := orderOf(stmt); ok {
		return action(order, err)
	}
	if listing, ok, err := listingOf(stmt, database, at); ok {
		return action(listing, err)
	}
	return nil, refused(stmt)
}

// action returns nothing beside an error.
func action[A Action](a A, err error) (Action, error) {
	if err != nil {
		return nil, err
	}
	return a, nil
}

// named returns the database that a statement names, or that of the request.
func named(statement, request string) (string, error) {
	if statement != "" {
		return statement, nil
	}
	if request == "" {
		return "", errDatabase
	}
	return request, nil
}

// deletion returns what DELETE and DROP SERIES take away.
func deletion(what string, sources influxql.Sources, cond influxql.Expr, database string, now time.Time) (Action, error) {
	d := &Deletion{}
	l, err := listing(SeriesKeys, "", sources, cond, database, now)
	if err != nil {
		return nil, err
	}
	d.Database, d.Policy, d.Series, d.First, d.Last = l.Database, l.Policy, l.Request, l.First, l.Last
	if d.Series.Condition == "" {
		d.Series.What = Measurements
	}
	if what == "DROP SERIES" && (d.First != math.MinInt64 || d.Last != math.MaxInt64) {
		return nil, &RefusedError{"DROP SERIES with time in WHERE", "DELETE takes away points of a span of time"}
	}
	return d, nil
}
