package line

import (
	"math"
	"strconv"
	"unicode/utf8"

	"muster/points"
	"muster/points/column"
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
	v := f.Value
	switch v.Kind {
	case column.Float:
		if math.IsNaN(v.Float()) || math.IsInf(v.Float(), 0) {
			return dst, points.Refuse(points.InvalidNumber, []byte(f.Name))
		}
		return strconv.AppendFloat(dst, v.Float(), 'g', -1, 64), nil
	case column.Integer:
		return append(strconv.AppendInt(dst, v.Integer(), 10), 'i'), nil
	case column.Unsigned:
		return append(strconv.AppendUint(dst, v.Unsigned(), 10), 'u'), nil
	case column.Boolean:
		return strconv.AppendBool(dst, v.Boolean()), nil
	case column.String:
		switch text := v.Text(); {
		case len(text) > points.StringMax:
			return dst, points.Refuse(points.StringTooLong, []byte(f.Name))
		case !utf8.ValidString(text):
			return dst, points.Refuse(points.InvalidString, []byte(f.Name))
		default:
			return appendString(dst, text), nil
		}
	}
	return dst, points.Refuse(points.InvalidValue, []byte(f.Name))
}

func appendString(dst []byte, text string) []byte {
	dst = append(dst, '"')
	for i := range len(text) {
		if text[i] == '"' || text[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, text[i])
	}
	return append(dst, '"')
}
