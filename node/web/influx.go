package web

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
)

// How InfluxDB's clients say who they are, the first of these that there is:
//
//	?u=NAME&p=PASSWORD                      the shell of old, collectors
//	Authorization: Basic …                  the shell, telegraf, Grafana
//	Authorization: Token NAME:PASSWORD      clients of InfluxDB 2, of InfluxDB 1.8
//	Authorization: Token TOKEN              clients of InfluxDB 2, with the token of a login to muster
//	Authorization: Bearer TOKEN
//
// They are made the same here: what follows knows Basic and Bearer. The parameters are taken out of the address, so that
// a handler has no password to tell by mistake.

const (
	userParameter     = "u"
	passwordParameter = "p"
	tokenScheme       = "Token "
)

// asBasic returns a request of an InfluxDB client with what it says of its user as all others say it. r stays as it is.
// Where nobody is asked who he is, nothing is said: InfluxDB without users does not look at it either, and its clients
// send names that nobody has.
func (d *Door) asBasic(r *http.Request) *http.Request {
	made := r.WithContext(r.Context())
	made.Header = r.Header.Clone()
	name, password := takeUser(made)
	shown := field(r, "Authorization")
	if name != "" && password != "" {
		shown = basicOf(name, password)
	} else if len(shown) >= len(tokenScheme) && strings.EqualFold(shown[:len(tokenScheme)], tokenScheme) {
		token := strings.TrimSpace(shown[len(tokenScheme):])
		if name, password, ok := strings.Cut(token, ":"); ok {
			shown = basicOf(name, password)
		} else if shown = ""; token != "" {
			shown = "Bearer " + token
		}
	}
	made.Header.Del("Authorization")
	if shown != "" && !d.config.Open() {
		made.Header.Set("Authorization", shown)
	}
	return made
}

// bugPasswordStays is planted to show that its test finds it: a handler sees the password in an address.
const bugPasswordStays = "password left in the address"

func basicOf(name, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))
}

// takeUser takes the parameters of the user out of the address. The other parameters stay as they were sent.
func takeUser(r *http.Request) (name, password string) {
	var rest []string
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		key, value, _ := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(key)
		if err != nil || key != userParameter && key != passwordParameter {
			rest = append(rest, pair)
			continue
		}
		value, err = url.QueryUnescape(value)
		switch { // the first of its name counts; one that can't be read is none
		case err == nil && key == userParameter && name == "":
			name = value
		case err == nil && key == passwordParameter && password == "":
			password = value
		}
	}
	if bug(bugPasswordStays) {
		return name, password
	}
	address := *r.URL
	address.RawQuery = strings.Join(rest, "&")
	r.URL, r.RequestURI = &address, address.RequestURI()
	return name, password
}
