// Package csv declares the names of Flux's CSV that InfluxDB's query package mentions; see its parent.
package csv

import "io"

// ResultEncoderConfig is how answers would be written.
type ResultEncoderConfig struct{}

// DefaultEncoderConfig returns the only configuration.
func DefaultEncoderConfig() ResultEncoderConfig { return ResultEncoderConfig{} }

// ResultEncoder would write answers.
type ResultEncoder struct{}

// NewResultEncoder returns an encoder.
func NewResultEncoder(ResultEncoderConfig) *ResultEncoder { return &ResultEncoder{} }

// EncodeError panics: no answer to InfluxQL comes here.
func (*ResultEncoder) EncodeError(io.Writer, error) error {
	panic("noflux: an answer in Flux's CSV, which this module can't write")
}
