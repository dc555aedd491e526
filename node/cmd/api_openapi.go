package cmd

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"muster/node"
)

// specName is the route that has the description of all routes.
const specName = "openapi.json"

// specVersion is the version of OpenAPI that it is in.
const specVersion = "3.1.0"

// The part of OpenAPI that the description uses. Maps are written with their keys in order, so the same table makes
// the same bytes.
type (
	spec struct {
		OpenAPI    string              `json:"openapi"`
		Info       specInfo            `json:"info"`
		Servers    []specServer        `json:"servers"`
		Security   []map[string][]any  `json:"security"`
		Tags       []specTag           `json:"tags"`
		Paths      map[string]specPath `json:"paths"`
		Components specComponents      `json:"components"`
	}
	specInfo struct {
		Title       string `json:"title"`
		Version     string `json:"version"`
		Description string `json:"description"`
	}
	specServer struct {
		URL string `json:"url"`
	}
	specTag struct {
		Name        string `json:"name"`
		Description string `json:"description"`
	}
	specPath map[string]*specOperation // by method, in small letters

	specOperation struct {
		ID          string                   `json:"operationId"`
		Tags        []string                 `json:"tags,omitempty"`
		Summary     string                   `json:"summary"`
		Description string                   `json:"description,omitempty"`
		Parameters  []specParameter          `json:"parameters,omitempty"`
		Body        *specBody                `json:"requestBody,omitempty"`
		Responses   map[string]*specResponse `json:"responses"`
	}
	specParameter struct {
		Name        string  `json:"name"`
		In          string  `json:"in"`
		Description string  `json:"description,omitempty"`
		Required    bool    `json:"required,omitempty"`
		Explode     *bool   `json:"explode,omitempty"`
		Schema      *schema `json:"schema"`
	}
	specBody struct {
		Required bool                    `json:"required"`
		Content  map[string]*specContent `json:"content"`
	}
	specResponse struct {
		Description string                  `json:"description"`
		Content     map[string]*specContent `json:"content,omitempty"`
	}
	specContent struct {
		Schema *schema `json:"schema"`
	}
	specComponents struct {
		Schemas         map[string]*schema    `json:"schemas"`
		SecuritySchemes map[string]specScheme `json:"securitySchemes"`
	}
	specScheme struct {
		Type        string `json:"type"`
		Scheme      string `json:"scheme"`
		Description string `json:"description"`
	}
	// schema is a JSON Schema of the draft 2020-12, as OpenAPI 3.1 has it.
	schema struct {
		Ref         string             `json:"$ref,omitempty"`
		Type        any                `json:"type,omitempty"` // a string, or some
		Format      string             `json:"format,omitempty"`
		Description string             `json:"description,omitempty"`
		Enum        []string           `json:"enum,omitempty"`
		Default     any                `json:"default,omitempty"`
		Minimum     *int               `json:"minimum,omitempty"`
		MaxItems    int                `json:"maxItems,omitempty"`
		Items       *schema            `json:"items,omitempty"`
		Properties  map[string]*schema `json:"properties,omitempty"`
		Required    []string           `json:"required,omitempty"`
		AnyOf       []*schema          `json:"anyOf,omitempty"`
		Additional  any                `json:"additionalProperties,omitempty"` // false, or a schema of all others
		WriteOnly   bool               `json:"writeOnly,omitempty"`
	}
)

// openAPI describes the routes.
func openAPI(routes []*apiRoute) []byte {
	d := &describer{schemas: map[string]*schema{}, types: map[string]reflect.Type{}}
	s := spec{
		OpenAPI: specVersion,
		Info: specInfo{Title: "muster", Version: node.Version,
			Description: "What the command line can do, over HTTP. A route is a command: its fields are the command's arguments and options, its answer is what the command prints with -o json. docs/http.md has the rules and examples."},
		Servers:  []specServer{{"/"}},
		Security: []map[string][]any{{"token": {}}, {}}, // nobody is asked in a cluster without TLS
		Paths:    map[string]specPath{},
	}
	nouns := map[string]bool{}
	for _, rt := range routes {
		c := rt.make(&console{})
		if noun := rt.words[0]; !nouns[noun] {
			nouns[noun] = true
			s.Tags = append(s.Tags, specTag{noun, c.Usage})
		}
		s.Paths[rt.path] = specPath{strings.ToLower(string(rt.method)): d.operation(rt)}
	}
	s.Tags = append(s.Tags, specTag{"node's own", "what is no command"})
	for _, other := range apiOthers() {
		s.Paths[other.path] = specPath{strings.ToLower(string(other.method)): d.other(&other)}
	}
	d.of(reflect.TypeFor[errorBody]())
	d.of(reflect.TypeFor[plannedRow]())
	s.Components = specComponents{Schemas: d.schemas, SecuritySchemes: map[string]specScheme{
		"token": {"http", "bearer", "a token of POST /api/v1/auth/login, good for an hour on every node"},
	}}
	b, err := json.MarshalIndent(&s, "", " ")
	if err != nil {
		panic("the description of the routes can't be written: " + err.Error())
	}
	return append(b, '\n')
}

// describer makes schemas, those of named types once.
type describer struct {
	schemas map[string]*schema
	types   map[string]reflect.Type // what each is of: a name can be there in two packages
}

func (d *describer) operation(rt *apiRoute) *specOperation {
	leaf := rt.make(&console{})
	if len(rt.words) > 1 {
		leaf = leafOf(leaf.Subcommands, rt.words[1:])
	}
	about, _, _ := strings.Cut(leaf.Description, "With -o json")
	about, _ = rt.inFields(about)
	o := &specOperation{ID: operationID(rt.words), Tags: rt.words[:1], Summary: leaf.Usage, Description: strings.TrimSpace(about), Responses: map[string]*specResponse{}}
	body := &schema{Type: "object", Properties: map[string]*schema{}, Additional: false}
	for i := range rt.fields {
		f := &rt.fields[i]
		if rt.method == reads {
			o.Parameters = append(o.Parameters, f.parameter())
			continue
		}
		body.Properties[f.name] = f.schema()
		if f.need {
			body.Required = append(body.Required, f.name)
		}
	}
	for _, set := range rt.alternatives() {
		body.AnyOf = append(body.AnyOf, &schema{Required: []string{set}})
	}
	if rt.resumes != "" {
		o.Parameters = append(o.Parameters, specParameter{Name: headerLastEvent, In: "header", Description: "the id of the last event of an earlier stream, which this one continues: the same as " + rt.resumes, Schema: &schema{Type: "string"}})
	}
	if rt.method == changes {
		o.Body = &specBody{Required: true, Content: map[string]*specContent{typeJSON: {body}}}
		if rt.file.kind == kindLines {
			o.Body.Content[typeLines] = &specContent{&schema{Type: "string", Description: "an item a line, instead of " + rt.file.name}}
		}
	}
	d.responses(rt, o)
	return o
}

// other describes a route that is no command.
func (d *describer) other(r *apiOther) *specOperation {
	o := &specOperation{ID: r.id, Tags: []string{"node's own"}, Summary: r.about}
	body := &schema{Type: "object", Properties: map[string]*schema{}, Additional: false}
	for i := range r.fields {
		f := &r.fields[i]
		if r.method == reads {
			o.Parameters = append(o.Parameters, f.parameter())
			continue
		}
		if body.Properties[f.name] = f.schema(); f.need {
			body.Required = append(body.Required, f.name)
		}
	}
	if len(body.Properties) > 0 {
		o.Body = &specBody{Required: true, Content: map[string]*specContent{typeJSON: {body}}}
	}
	kind := typeJSON
	if r.events {
		kind = typeEvents
	}
	o.Responses = map[string]*specResponse{
		"200":     {Description: "done", Content: map[string]*specContent{kind: {d.of(reflect.TypeOf(r.answer))}}},
		"default": {Description: "an error", Content: map[string]*specContent{typeJSON: {d.of(reflect.TypeFor[errorBody]())}}},
	}
	return o
}

// alternatives are the fields of which a request has one at least: those that the row names, or of an argument the two
// forms.
func (rt *apiRoute) alternatives() []string {
	if rt.method != changes {
		return nil
	}
	if len(rt.oneOf) > 0 {
		return rt.oneOf
	}
	for i := range rt.fields {
		if f := &rt.fields[i]; f.encoded >= 0 && rt.fields[f.encoded].arg > 0 && rt.args[rt.fields[f.encoded].arg-1].need {
			return []string{rt.fields[f.encoded].name, f.name}
		}
	}
	return nil
}

func operationID(words []string) string {
	id := words[0]
	for _, w := range words[1:] {
		for part := range strings.SplitSeq(w, "-") {
			id += strings.ToUpper(part[:1]) + part[1:]
		}
	}
	return id
}

func (d *describer) responses(rt *apiRoute, o *specOperation) {
	answer := &schema{Description: "as the command prints it"}
	if rt.answer != nil {
		answer = d.of(reflect.TypeOf(rt.answer))
	}
	content := map[string]*specContent{typeJSON: {answer}}
	ok := &specResponse{Description: "done", Content: content}
	if rt.lines {
		ok.Description = "done: such an object a line, or an event"
		ok.Content = map[string]*specContent{typeLines: {answer}, typeEvents: {&schema{Type: "string"}}}
	}
	set := func(status int, r *specResponse) { o.Responses[strconv.Itoa(status)] = r }
	set(http.StatusOK, ok)
	failed := func(about string) *specResponse {
		return &specResponse{Description: about, Content: map[string]*specContent{typeJSON: {d.of(reflect.TypeFor[errorBody]())}}}
	}
	if rt.field(fieldWait) >= 0 {
		set(http.StatusAccepted, &specResponse{Description: "begun: it goes on, and this is how it stands", Content: ok.Content})
	}
	if rt.plans != plansNone {
		planned := d.of(reflect.TypeFor[plannedRow]())
		ok.Content = map[string]*specContent{}
		for kind, c := range content {
			ok.Content[kind] = &specContent{&schema{AnyOf: []*schema{c.Schema, planned}}}
		}
		if rt.lines {
			ok.Content[typeLines] = &specContent{answer}
		}
		set(http.StatusConflict, failed("the plan is another by now: here it is, and nothing was changed"))
		set(http.StatusPreconditionRequired, failed("nobody has agreed to the plan: here it is, and nothing was changed"))
	}
	o.Responses["default"] = failed("an error")
}

// schema is what the field may be.
func (f *apiField) schema() *schema {
	s := f.one()
	if f.many {
		s = &schema{Type: []string{"array", "string"}, Items: s, MaxItems: apiKeysMax}
	}
	s.Description = f.about
	return s
}

func (f *apiField) one() *schema {
	least := 0
	s := &schema{Enum: f.words}
	if f.otherwise != "" {
		s.Default = f.otherwise
	}
	switch f.kind {
	case kindNumeral:
		s.Type = []string{"string", "integer"}
	case kindWhole:
		s.Type = "integer"
	case kindCount:
		s.Type, s.Minimum = "integer", &least
	case kindSwitch:
		s.Type = "boolean"
	case kindArray, kindLines:
		s.Type, s.Items = "array", &schema{Type: "object"}
	case kindObject:
		s.Type = "object"
	case kindSecret:
		s.Type, s.Format, s.WriteOnly = "string", "password", true
	case kindDuration:
		s.Type, s.Format = "string", "go-duration"
	default:
		s.Type = "string"
		if f.encoded >= 0 {
			s.Format = "byte"
		}
	}
	return s
}

func (f *apiField) parameter() specParameter {
	p := specParameter{Name: f.name, In: "query", Description: f.about, Required: f.need, Schema: f.one()}
	if f.many {
		explode := true
		p.Explode, p.Schema = &explode, &schema{Type: "array", Items: p.Schema, MaxItems: apiKeysMax}
	}
	return p
}

var marshaler = reflect.TypeFor[json.Marshaler]()

// of is the schema of a type as encoding/json writes it. Each struct is described once, under its name.
func (d *describer) of(t reflect.Type) *schema {
	switch {
	case t == reflect.TypeFor[json.RawMessage]():
		return &schema{Description: "any value"}
	case t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler):
		return &schema{Type: "object"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return d.of(t.Elem())
	case reflect.Struct:
		name := t.Name()
		if name == "" || t.NumField() == 0 {
			return &schema{Type: "object"}
		}
		if of := d.types[name]; of != nil && of != t {
			name = strings.ReplaceAll(t.String(), ".", "") // with the package
		}
		if d.types[name] = t; d.schemas[name] == nil {
			s := &schema{Type: "object", Properties: map[string]*schema{}}
			d.schemas[name] = s // before its fields: they may have it again
			d.fields(t, s)
		}
		return &schema{Ref: "#/components/schemas/" + name}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return &schema{Type: "string", Format: "byte"}
		}
		return &schema{Type: "array", Items: d.of(t.Elem())}
	case reflect.Map:
		return &schema{Type: "object", Additional: d.of(t.Elem())}
	case reflect.String:
		return &schema{Type: "string"}
	case reflect.Bool:
		return &schema{Type: "boolean"}
	case reflect.Float64:
		return &schema{Type: "number"}
	case reflect.Interface:
		return &schema{}
	}
	return &schema{Type: "integer"}
}

func (d *describer) fields(t reflect.Type, s *schema) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && f.Type.Kind() == reflect.Pointer: // it may be nil, and then has no fields
			required := s.Required
			d.fields(f.Type.Elem(), s)
			s.Required = required
			continue
		case f.Anonymous:
			d.fields(f.Type, s)
			continue
		case !f.IsExported() || name == "-" || name == "":
			continue
		}
		s.Properties[name] = d.of(f.Type)
		if !strings.Contains(options, "omitempty") {
			s.Required = append(s.Required, name)
		}
	}
}
