package main

import (
	"fmt"
	"image"
	"image/color"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/font/liberation"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// The grid is Grafana's: 24 columns, and rows of 30 pixels with 8 between them.
const (
	columns = 24
	width   = 1400
	cell    = 30
	gap     = 8
	header  = 44
	// dpi makes a point a pixel.
	dpi = 72
)

// Colours of a light theme.
var (
	page   = color.RGBA{0xf4, 0xf5, 0xf5, 0xff}
	paper  = color.RGBA{0xff, 0xff, 0xff, 0xff}
	border = color.RGBA{0xdd, 0xde, 0xe0, 0xff}
	grid   = color.RGBA{0xe9, 0xea, 0xec, 0xff}
	ink    = color.RGBA{0x24, 0x29, 0x2e, 0xff}
	faint  = color.RGBA{0x60, 0x66, 0x6e, 0xff}

	named = map[string]color.RGBA{
		"green":  {0x1a, 0x7f, 0x4b, 0xff},
		"orange": {0xe0, 0x6c, 0x00, 0xff},
		"red":    {0xd1, 0x0e, 0x37, 0xff},
		"blue":   {0x32, 0x74, 0xd9, 0xff},
		"text":   ink,
	}
	// palette are the colours of the lines of a panel, in their order.
	palette = []color.RGBA{
		{0x56, 0xa6, 0x4b, 0xff}, {0xe0, 0xb4, 0x00, 0xff}, {0x32, 0x74, 0xd9, 0xff}, {0xff, 0x78, 0x0a, 0xff}, {0xe0, 0x2f, 0x44, 0xff}, {0x8f, 0x3b, 0xb8, 0xff},
		{0x19, 0x73, 0x0e, 0xff}, {0x5f, 0xb8, 0xc9, 0xff}, {0x7c, 0x2e, 0xa3, 0xff}, {0x1f, 0x60, 0xc4, 0xff}, {0xad, 0x03, 0x17, 0xff}, {0x99, 0x6b, 0x00, 0xff},
	}
)

// letters draw text, with fonts that the program has with it.
var letters = text.Plain{Fonts: font.NewCache(liberation.Collection())}

func style(size vg.Length, ink color.Color, bold bool) text.Style {
	face := font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
	if bold {
		face.Weight = xfont.WeightBold
	}
	return text.Style{Font: face, Color: ink, Handler: letters}
}

// paint draws a dashboard.
func paint(board *dashboard, results []result, span span) image.Image {
	rows := 0
	for _, panel := range board.Panels {
		rows = max(rows, panel.GridPos.Y+panel.GridPos.H)
	}
	height := vg.Length(header + rows*(cell+gap) + gap)
	canvas := vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(dpi), vgimg.UseBackgroundColor(page))
	whole := draw.New(canvas)
	write := func(style text.Style, x vg.Length, align text.XAlignment, words string) {
		style.XAlign, style.YAlign = align, text.YCenter
		whole.FillText(style, vg.Point{X: x, Y: height - header/2 - 3}, words)
	}
	write(style(18, ink, true), 2*gap, text.XLeft, board.Title)
	write(style(12, faint, false), width-2*gap, text.XRight, fmt.Sprintf("%s to %s", span.from.UTC().Format("2006-01-02 15:04:05"), span.to.UTC().Format("15:04:05 UTC")))
	const each = vg.Length(width-gap) / columns
	for i, panel := range board.Panels {
		place := panel.GridPos
		left, top := gap+vg.Length(place.X)*each, height-header-vg.Length(place.Y*(cell+gap))
		frame := vg.Rectangle{
			Min: vg.Point{X: left, Y: top - vg.Length(place.H*(cell+gap)-gap)},
			Max: vg.Point{X: left + vg.Length(place.W)*each - gap, Y: top},
		}
		panel.paint(draw.Canvas{Canvas: canvas, Rectangle: frame}, results[i], span)
	}
	return canvas.Image()
}

// paint draws a panel, which fills the canvas.
func (p panel) paint(c draw.Canvas, found result, span span) {
	heading := style(13, ink, true)
	heading.YAlign = text.YCenter
	if p.Type == row {
		heading.Font.Size = 15
		c.FillText(heading, vg.Point{X: c.Min.X + 4, Y: c.Center().Y}, p.Title)
		return
	}
	c.FillPolygon(paper, corners(c.Rectangle))
	c.StrokeLines(draw.LineStyle{Color: border, Width: 1}, append(corners(c.Rectangle), c.Min))
	c.FillText(heading, vg.Point{X: c.Min.X + 10, Y: c.Max.Y - 16}, fit(heading, p.Title, c.Size().X-20))
	inner := draw.Crop(c, 10, -10, 8, -36)
	if len(found.series) == 0 {
		nothing := style(14, faint, false)
		nothing.XAlign, nothing.YAlign = text.XCenter, text.YCenter
		c.FillText(nothing, inner.Center(), "No data")
		return
	}
	switch p.Type {
	case stat:
		p.paintStat(inner, found)
	case table:
		p.paintTable(inner, found)
	case timeseries:
		p.paintLines(inner, found, span)
	}
}

func corners(r vg.Rectangle) []vg.Point {
	return []vg.Point{r.Min, {X: r.Max.X, Y: r.Min.Y}, r.Max, {X: r.Min.X, Y: r.Max.Y}}
}

// fit cuts words to a width.
func fit(style text.Style, words string, width vg.Length) string {
	if style.Width(words) <= width {
		return words
	}
	letters := []rune(words)
	for len(letters) > 0 && style.Width(string(letters)+"…") > width {
		letters = letters[:len(letters)-1]
	}
	return string(letters) + "…"
}

// looks is how a series or column looks. What is wrong with it has been told when the dashboard was read.
func (p panel) looks(name string) (field, unit) {
	looks, _ := p.field(name)
	unit, _ := unitOf(looks.Unit)
	return looks, unit
}

// faded is a colour with so much of it left.
func faded(full color.RGBA, part float64) color.Color {
	return color.NRGBA{full.R, full.G, full.B, uint8(255 * part)}
}
