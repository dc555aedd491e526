package statement

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/influxdata/influxql"

	"muster/shardmap/points"
	"muster/shardmap/points/rows"
)

// Listing is answered by shards.
type Listing struct {
	Database    string
	Policy      string // "": all of them
	First, Last int64  // shards of windows that have such times are asked; both included
	Request     Request

	count         count
	limit, offset int
}

// count is what becomes of lists.
type count int

const (
	listed    count = iota // they are the rows
	counted                // their length is, of each measurement
	countedIn              // their length is, of all measurements together, in a column count
	estimated              // the same, in a column cardinality estimation
)

// listingOf returns the listing that a statement is; false: it is none.
func listingOf(stmt influxql.Statement, database string, now time.Time) (l *Listing, ok bool, err error) {
	var limit, offset int
	make := func(w What, db string, sources influxql.Sources, cond influxql.Expr) {
		l, err = listing(w, db, sources, cond, database, now)
	}
	how := listed
	var grouped influxql.Dimensions
	switch s := stmt.(type) {
	case *influxql.ShowMeasurementsStatement:
		if s.WildcardDatabase || s.WildcardRetentionPolicy {
			return nil, true, &RefusedError{"SHOW MEASUREMENTS ON *.*", "name one database"}
		}
		make(Measurements, s.Database, source(s.Source), s.Condition)
		if err == nil && s.RetentionPolicy != "" {
			l.Policy = s.RetentionPolicy
		}
		limit, offset = s.Limit, s.Offset
	case *influxql.ShowSeriesStatement:
		make(SeriesKeys, s.Database, s.Sources, s.Condition)
		limit, offset = s.Limit, s.Offset
	case *influxql.ShowTagKeysStatement:
		make(TagKeys, s.Database, s.Sources, s.Condition)
		if err == nil && s.TagKeyExpr != nil {
			l.Request.Keys, err = keys(s.TagKeyOp, s.TagKeyExpr)
		}
		if s.SLimit > 0 || s.SOffset > 0 {
			return nil, true, &RefusedError{"SHOW TAG KEYS with SLIMIT or SOFFSET", "name the measurements"}
		}
		limit, offset = s.Limit, s.Offset
	case *influxql.ShowTagValuesStatement:
		make(TagValues, s.Database, s.Sources, s.Condition)
		if err == nil {
			l.Request.Keys, err = keys(s.Op, s.TagKeyExpr)
		}
		limit, offset = s.Limit, s.Offset
	case *influxql.ShowFieldKeysStatement:
		make(FieldKeys, s.Database, s.Sources, nil)
		limit, offset = s.Limit, s.Offset
	case *influxql.ShowMeasurementCardinalityStatement:
		make(Measurements, s.Database, s.Sources, s.Condition)
		how, limit, offset, grouped = whole(s.Exact), s.Limit, s.Offset, s.Dimensions
	case *influxql.ShowSeriesCardinalityStatement:
		make(SeriesHashes, s.Database, s.Sources, s.Condition)
		how, limit, offset, grouped = counted, s.Limit, s.Offset, s.Dimensions
		if !s.Exact && s.Sources == nil && s.Condition == nil {
			how = estimated
		}
	case *influxql.ShowTagKeyCardinalityStatement:
		make(TagKeys, s.Database, s.Sources, s.Condition)
		how, limit, offset, grouped = counted, s.Limit, s.Offset, s.Dimensions
	case *influxql.ShowTagValuesCardinalityStatement:
		make(TagValues, s.Database, s.Sources, s.Condition)
		if err == nil {
			l.Request.Keys, err = keys(s.Op, s.TagKeyExpr)
		}
		how, limit, offset, grouped = counted, s.Limit, s.Offset, s.Dimensions
	case *influxql.ShowFieldKeyCardinalityStatement:
		make(FieldKeys, s.Database, s.Sources, s.Condition)
		how, limit, offset, grouped = counted, s.Limit, s.Offset, s.Dimensions
	default:
		return nil, false, nil
	}
	if err == nil && len(grouped) > 0 {
		err = &RefusedError{"GROUP BY of a cardinality", "ask for each measurement, or each value of a tag, with FROM and WHERE"}
	}
	if err != nil {
		return nil, true, err
	}
	l.count, l.limit, l.offset = how, limit, offset
	return l, true, nil
}

func whole(exact bool) count {
	if exact {
		return countedIn
	}
	return estimated
}

func source(s influxql.Source) influxql.Sources {
	if s == nil {
		return nil
	}
	return influxql.Sources{s}
}

// listing returns a listing of measurements that a statement names, or of all of them.
func listing(w What, database string, sources influxql.Sources, cond influxql.Expr, request string, now time.Time) (*Listing, error) {
	l := &Listing{Database: database, First: math.MinInt64, Last: math.MaxInt64, Request: Request{What: w}}
	for _, s := range sources {
		m, ok := s.(*influxql.Measurement)
		if !ok {
			return nil, &RefusedError{"a sub-query in FROM", "name measurements"}
		}
		if m.Database != "" {
			if l.Database != "" && l.Database != m.Database {
				return nil, fmt.Errorf("measurements of two databases are named, %s and %s; name those of one", l.Database, m.Database)
			}
			l.Database = m.Database
		}
		if m.RetentionPolicy != "" {
			if l.Policy != "" && l.Policy != m.RetentionPolicy {
				return nil, fmt.Errorf("measurements of two retention policies are named, %s and %s; name those of one", l.Policy, m.RetentionPolicy)
			}
			l.Policy = m.RetentionPolicy
		}
		if m.Regex != nil {
			l.Request.Expressions = append(l.Request.Expressions, m.Regex.Val.String())
		} else {
			l.Request.Measurements = append(l.Request.Measurements, m.Name)
		}
	}
	var err error
	if l.Database, err = named(l.Database, request); err != nil {
		return nil, err
	}
	rest, span, err := influxql.ConditionExpr(cond, &influxql.NowValuer{Now: now})
	if err != nil {
		return nil, err
	}
	if !span.Min.IsZero() {
		l.First = span.MinTimeNano()
	}
	if !span.Max.IsZero() {
		l.Last = span.MaxTimeNano()
	}
	if rest != nil {
		if err := checkCondition(rest); err != nil {
			return nil, err
		}
		l.Request.Condition = rest.String()
	}
	slices.Sort(l.Request.Measurements)
	l.Request.Measurements = slices.Compact(l.Request.Measurements)
	return l, nil
}

// keys returns the condition on names of tags that WITH KEY makes.
func keys(op influxql.Token, literal influxql.Expr) (string, error) {
	var expr influxql.Expr
	name := &influxql.VarRef{Val: tagKey}
	switch x := literal.(type) {
	case *influxql.ListLiteral:
		for _, v := range x.Vals {
			one := influxql.Expr(&influxql.BinaryExpr{Op: influxql.EQ, LHS: name, RHS: &influxql.StringLiteral{Val: v}})
			if expr != nil {
				one = &influxql.BinaryExpr{Op: influxql.OR, LHS: expr, RHS: one}
			}
			expr = one
		}
	case *influxql.StringLiteral, *influxql.RegexLiteral:
		expr = &influxql.BinaryExpr{Op: op, LHS: name, RHS: x}
	}
	if expr == nil {
		return "", fmt.Errorf("WITH KEY names no tag; want = 'name', IN (…), or =~ /…/")
	}
	return expr.String(), checkCondition(expr)
}

// Rows returns the rows of the listing from the answers of all shards.
func (l *Listing) Rows(answers []*Answer) []rows.Series {
	groups := Merge(answers)
	switch l.count {
	case countedIn, estimated:
		n := 0
		for _, g := range groups {
			n += g.len()
		}
		if l.Request.What == Measurements {
			n = len(groups)
		}
		column := "count"
		if l.count == estimated {
			column = "cardinality estimation"
		}
		return []rows.Series{{Columns: []string{column}, Values: []points.Value{points.IntegerValue(int64(n))}}}
	case counted:
		var all []rows.Series
		for _, g := range groups {
			// A limit is one of the rows of each measurement, of which there is one.
			if n := g.names(l.Request.What); n > 0 && l.offset == 0 {
				all = append(all, rows.Series{Name: g.Measurement, Columns: []string{"count"}, Values: []points.Value{points.IntegerValue(int64(n))}})
			}
		}
		return all
	}
	return l.list(groups)
}

func (l *Listing) list(groups []Group) []rows.Series {
	var all []rows.Series
	switch l.Request.What {
	case Measurements:
		one := rows.Series{Name: "measurements", Columns: []string{"name"}}
		for _, g := range groups {
			one.Values = append(one.Values, text(g.Measurement))
		}
		all = append(all, one)
	case SeriesKeys:
		one := rows.Series{Columns: []string{"key"}}
		for _, g := range groups {
			for _, p := range g.Pairs {
				one.Values = append(one.Values, text(p.A))
			}
		}
		all = append(all, one)
	default:
		columns := map[What][]string{TagKeys: {"tagKey"}, TagValues: {"key", "value"}, FieldKeys: {"fieldKey", "fieldType"}}[l.Request.What]
		for _, g := range groups {
			one := rows.Series{Name: g.Measurement, Columns: columns}
			for _, p := range g.Pairs {
				if one.Values = append(one.Values, text(p.A)); len(columns) > 1 {
					one.Values = append(one.Values, text(p.B))
				}
			}
			all = append(all, one)
		}
	}
	left := all[:0]
	for _, s := range all {
		n := len(s.Columns)
		from := min(l.offset, s.Len())
		to := s.Len()
		if l.limit > 0 {
			to = min(to, from+l.limit)
		}
		if s.Values = s.Values[from*n : to*n]; len(s.Values) > 0 {
			left = append(left, s)
		}
	}
	return left
}

// Merge returns what all shards have, by measurement, each thing once.
func Merge(answers []*Answer) []Group {
	var all []Group
	for _, a := range answers {
		all = append(all, a.Groups...)
	}
	slices.SortStableFunc(all, func(x, y Group) int { return cmp.Compare(x.Measurement, y.Measurement) })
	var merged []Group
	for _, g := range all {
		if n := len(merged); n > 0 && merged[n-1].Measurement == g.Measurement {
			last := &merged[n-1]
			last.Pairs = append(last.Pairs, g.Pairs...)
			last.Hashes = append(last.Hashes, g.Hashes...)
			continue
		}
		merged = append(merged, Group{g.Measurement, slices.Clone(g.Pairs), slices.Clone(g.Hashes)})
	}
	for i := range merged {
		merged[i].settle()
	}
	return merged
}
