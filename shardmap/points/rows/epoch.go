package rows

import "time"

// Epoch is how the times of an answer are written.
type Epoch int64

// RFC3339 writes times as text, with as many digits of a second as there are. The others write a whole number of their
// unit since 1970 UTC, and cut off what is less than one, towards 1970.
const (
	RFC3339      Epoch = 0
	Nanoseconds  Epoch = Epoch(time.Nanosecond)
	Microseconds Epoch = Epoch(time.Microsecond)
	Milliseconds Epoch = Epoch(time.Millisecond)
	Seconds      Epoch = Epoch(time.Second)
	Minutes      Epoch = Epoch(time.Minute)
	Hours        Epoch = Epoch(time.Hour)
)

// EpochOf returns what the parameter epoch of a request asks for. None is [RFC3339]; a word that InfluxDB does not
// know is [Nanoseconds], as it has it.
func EpochOf(word string) Epoch {
	switch word {
	case "":
		return RFC3339
	case "u":
		return Microseconds
	case "ms":
		return Milliseconds
	case "s":
		return Seconds
	case "m":
		return Minutes
	case "h":
		return Hours
	}
	return Nanoseconds
}

// appendTime appends a time in nanoseconds since 1970 UTC as text, without quotes.
func appendTime(dst []byte, t int64, zone *time.Location) []byte {
	if zone == nil {
		zone = time.UTC
	}
	return time.Unix(0, t).In(zone).AppendFormat(dst, time.RFC3339Nano)
}
