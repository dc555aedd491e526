package line

import (
	"strconv"
	"unicode/utf8"

	"github.com/influxdata/line-protocol/v2/lineprotocol"

	"muster/shardmap/points"
	"muster/shardmap/points/column"
)

// Append appends a point as a line of nanosecond precision, without a newline at its end. It refuses what
// [Parser.Parse] would refuse, but for fields that come twice with two kinds; the error is a [points.Error].
func Append(dst []byte, x points.Point) ([]byte, error) {
	line, err := x.Series.AppendKey(dst)
	if err != nil {
		return dst, err
	}
	if len(x.Fields) == 0 {
		return dst, points.Refuse(points.MissingFields, nil)
	}
	for i, f := range x.Fields {
		separator := byte(',')
		if i == 0 {
			separator = ' '
		}
		if line, err = points.AppendName(append(line, separator), f.Name); err != nil {
			return dst, err
		}
		if line, err = appendValue(append(line, '='), f); err != nil {
			return dst, err
		}
	}
	if x.Time < points.TimeMin || x.Time > points.TimeMax {
		return dst, points.Refuse(points.TimeOutOfRange, nil)
	}
	line = strconv.AppendInt(append(line, ' '), x.Time, 10)
	if len(line)-len(dst) > LineMax {
		return dst, points.Refuse(points.LineTooLong, nil)
	}
	return line, nil
}

func appendValue(dst []byte, f points.Field) ([]byte, error) {
	var v lineprotocol.Value
	ok := true
	switch f.Value.Kind {
	case column.Float:
		v, ok = lineprotocol.FloatValue(f.Value.Float())
	case column.Integer:
		v = lineprotocol.IntValue(f.Value.Integer())
	case column.Unsigned:
		v = lineprotocol.UintValue(f.Value.Unsigned())
	case column.Boolean:
		v = lineprotocol.BoolValue(f.Value.Boolean())
	case column.String:
		return appendString(dst, f)
	default:
		return dst, points.Refuse(points.InvalidValue, []byte(f.Name))
	}
	if !ok {
		return dst, points.Refuse(points.InvalidNumber, []byte(f.Name))
	}
	return v.AppendBytes(dst), nil
}

// appendString appends a string with newlines as they are, which all that read line protocol take for such. The
// library would write \n, which InfluxDB 1.8 takes for two characters.
func appendString(dst []byte, f points.Field) ([]byte, error) {
	text := f.Value.Text()
	switch {
	case len(text) > points.StringMax:
		return dst, points.Refuse(points.StringTooLong, []byte(f.Name))
	case !utf8.ValidString(text):
		return dst, points.Refuse(points.InvalidString, []byte(f.Name))
	}
	dst = append(dst, '"')
	for i := range len(text) {
		if text[i] == '"' || text[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, text[i])
	}
	return append(dst, '"'), nil
}
