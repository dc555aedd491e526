package influx

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
)

const (
	// FormMax bounds the body of a query, in bytes: a text of 64 KiB each of whose bytes is escaped, and as much of
	// parameters.
	FormMax = 512 << 10
	// partsMax bounds the parts of a body of multipart/form-data.
	partsMax = 32
	// paramsMax bounds how deep the values of parameters are nested.
	paramsMax = 8
)

// formOf returns the parameters of a query, those of its body before those of its address.
func formOf(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	v, err := addressOf(r)
	if err != nil || r.Method != http.MethodPost || r.Body == nil || r.ContentLength == 0 {
		return v, err
	}
	if r.ContentLength > FormMax {
		return nil, formTooLarge()
	}
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil && r.Header.Get("Content-Type") != "" {
		return nil, badRequest("Content-Type %q: %v; want application/x-www-form-urlencoded", r.Header.Get("Content-Type"), err)
	}
	in := http.MaxBytesReader(w, r.Body, FormMax)
	var body url.Values
	switch media {
	case "application/x-www-form-urlencoded":
		text, err := io.ReadAll(in)
		if err != nil {
			return nil, formError(err)
		}
		if body, err = url.ParseQuery(string(text)); err != nil {
			return nil, badRequest("form: %v; want NAME=VALUE, with & between them and %%XX for what is no letter or digit", err)
		}
	case "multipart/form-data":
		if body, err = partsOf(multipart.NewReader(in, params["boundary"])); err != nil {
			return nil, err
		}
	case "application/vnd.influxql": // of InfluxDB 2's clients of InfluxQL
		text, err := io.ReadAll(in)
		if err != nil {
			return nil, formError(err)
		}
		body = url.Values{"q": {string(text)}}
	}
	for name, values := range body {
		v[name] = append(values, v[name]...)
	}
	return v, nil
}

// partsOf returns the parameters of a body of parts. A file is a parameter, too: curl -F q=@FILE sends one.
func partsOf(in *multipart.Reader) (url.Values, error) {
	v := make(url.Values)
	for n := 0; ; n++ {
		part, err := in.NextRawPart()
		if err == io.EOF {
			return v, nil
		}
		if err != nil {
			return nil, formError(err)
		}
		if n == partsMax {
			return nil, &Error{Reason: OverLimit, Text: fmt.Sprintf("form: more than %d parts; want q, db and what else the query needs", partsMax)}
		}
		text, err := io.ReadAll(part)
		if err != nil {
			return nil, formError(err)
		}
		v.Add(part.FormName(), string(text))
	}
}

func formTooLarge() *Error {
	return &Error{Reason: OverLimit, Text: fmt.Sprintf("form: %s: want at most %d bytes; send statements one by one", http.StatusText(http.StatusRequestEntityTooLarge), FormMax)}
}

// formError refuses a form that could not be read.
func formError(err error) error {
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return formTooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &Error{Reason: Busy, Text: "the form did not arrive in time; send it again", RetryAfter: retryAfter}
	}
	return badRequest("form: %v; want all of it, as its Content-Type says", err)
}

// paramsOf reads the values of a query's parameters: a JSON object.
func paramsOf(text string) (map[string]any, error) {
	if text == "" {
		return nil, nil
	}
	in := json.NewDecoder(strings.NewReader(text))
	in.UseNumber()
	var params map[string]any
	if err := in.Decode(&params); err != nil {
		return nil, badRequest(`error parsing query parameters: %v; want a JSON object, as {"host":"a"}`, err)
	}
	if _, err := in.Token(); err != io.EOF {
		return nil, badRequest("error parsing query parameters: there is more behind the object; want one object")
	}
	for name, v := range params {
		v, err := paramOf(v, 0)
		if err != nil {
			return nil, badRequest("error parsing json value: parameter %q: %v", name, err)
		}
		params[name] = v
	}
	return params, nil
}

// paramOf makes numbers of what JSON has: integers where they are whole, as they are written.
func paramOf(v any, depth int) (any, error) {
	if depth == paramsMax {
		return nil, fmt.Errorf("nested deeper than %d; want a value", paramsMax)
	}
	switch v := v.(type) {
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			f, err := strconv.ParseFloat(v.String(), 64)
			if err != nil {
				return nil, fmt.Errorf("%q is too large; want what fits into 64 bits", v.String())
			}
			return f, nil
		}
		i, err := strconv.ParseInt(v.String(), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is too large; want what fits into 64 bits", v.String())
		}
		return i, nil
	case map[string]any:
		for name, inner := range v {
			made, err := paramOf(inner, depth+1)
			if err != nil {
				return nil, err
			}
			v[name] = made
		}
	case []any:
		for i, inner := range v {
			made, err := paramOf(inner, depth+1)
			if err != nil {
				return nil, err
			}
			v[i] = made
		}
	}
	return v, nil
}
