package main

import (
	"bufio"
	"fmt"
	"html"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"
)

// drawing is a picture made of rectangles and lines of text.
type drawing struct {
	width, height int
	rects         []drawnRect
	texts         []drawnText
}

type drawnRect struct {
	area   image.Rectangle
	colour color.RGBA
}

type drawnText struct {
	at   image.Point // the left end of its baseline
	text string
}

func (d *drawing) rect(x, y, width, height int, c color.RGBA) {
	if width > 0 && height > 0 {
		d.rects = append(d.rects, drawnRect{image.Rect(x, y, x+width, y+height), c})
	}
}

func (d *drawing) text(x, y int, text string) {
	d.texts = append(d.texts, drawnText{image.Pt(x, y), text})
}

func (d *drawing) png(w io.Writer) error {
	img := image.NewRGBA(image.Rect(0, 0, d.width, d.height))
	draw.Draw(img, img.Bounds(), image.White, image.Point{}, draw.Src)
	for _, r := range d.rects {
		draw.Draw(img, r.area, image.NewUniform(r.colour), image.Point{}, draw.Src)
	}
	for _, t := range d.texts {
		f := font.Drawer{Dst: img, Src: image.Black, Face: basicfont.Face7x13, Dot: fixed.P(t.at.X, t.at.Y)}
		f.DrawString(t.text)
	}
	return png.Encode(w, img)
}

func (d *drawing) svg(w io.Writer) error {
	out := bufio.NewWriter(w)
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format, args...) } // Flush returns the error
	p(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="monospace" font-size="12">`+"\n", d.width, d.height)
	p(`<rect width="100%%" height="100%%" fill="#fff"/>` + "\n")
	for _, r := range d.rects {
		p(`<rect x="%d" y="%d" width="%d" height="%d" fill="#%02x%02x%02x"/>`+"\n",
			r.area.Min.X, r.area.Min.Y, r.area.Dx(), r.area.Dy(), r.colour.R, r.colour.G, r.colour.B)
	}
	for _, t := range d.texts {
		p(`<text x="%d" y="%d">%s</text>`+"\n", t.at.X, t.at.Y, html.EscapeString(t.text))
	}
	p("</svg>\n")
	return out.Flush()
}
