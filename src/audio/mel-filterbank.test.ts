import { expect, test } from "vitest"
import { f32, relativeToMaxAbs } from "../tensor/index.ts"
import { goldenTensors } from "./golden.test-util.ts"
import { applyMelFilterBank, denseMelFilterBank, melFilterBank } from "./mel-filterbank.ts"

const slaney = melFilterBank({ fftSize: 400, melBins: 80, sampleRateHz: 16000, scale: "slaney", norm: "slaney" })
const htk = melFilterBank({ fftSize: 1024, melBins: 100, sampleRateHz: 24000, scale: "htk", norm: "none" })
const sum = (values: Float32Array) => values.reduce((total, value) => total + value, 0)

test("the 16 kHz bank equals the recorded one and the published self-check values", () => {
  const dense = denseMelFilterBank(slaney)
  expect(relativeToMaxAbs(f32([201, 80], dense), goldenTensors("mel")["out.filterbank"]!)).toBeLessThan(1e-6)
  expect(sum(dense)).toBeCloseTo(1.9990241029, 6)
  expect(Math.max(...dense)).toBeCloseTo(0.0258806845, 8)
  expect(slaney.weights.length).toBe(391)
  expect(dense[80]).toBeCloseTo(0.024862594, 8)
  expect(dense[100 * 80 + 61]).toBeCloseTo(3.3588622e-4, 8)
  expect(dense[100 * 80 + 62]).toBeCloseTo(6.1727185e-3, 8)
})

test("the 24 kHz bank equals the recorded one and the published self-check values", () => {
  const dense = denseMelFilterBank(htk)
  expect(relativeToMaxAbs(f32([513, 100], dense), goldenTensors("mel_24k")["out.filterbank"]!)).toBeLessThan(1e-5)
  expect(sum(dense)).toBeCloseTo(503.82866, 3)
  expect(dense[100]).toBeCloseTo(0.8541125, 6)
  expect(dense[101]).toBeCloseTo(0.1458875, 6)
  expect(dense[302]).toBeCloseTo(0.6676559, 5)
  expect(dense[500 * 100 + 99]).toBeCloseTo(0.7828646, 6)
})

test("the sparse sum is the matrix product", () => {
  for (const bank of [slaney, htk]) {
    const spectrum = Float64Array.from({ length: bank.fftBins }, (_, k) => 1 + Math.sin(k * k))
    const mel = new Float64Array(bank.melBins)
    applyMelFilterBank(bank, spectrum, mel)
    const dense = denseMelFilterBank(bank)
    for (let m = 0; m < bank.melBins; m++) {
      let want = 0
      for (let k = 0; k < bank.fftBins; k++) want += dense[k * bank.melBins + m]! * spectrum[k]!
      expect(mel[m]).toBeCloseTo(want, 12)
    }
  }
})

test("a bank with more filters than bins leaves the empty ones at zero", () => {
  const bank = melFilterBank({ fftSize: 16, melBins: 40, sampleRateHz: 16000, scale: "htk", norm: "none" })
  const mel = new Float64Array(40).fill(7)
  applyMelFilterBank(bank, new Float64Array(9).fill(1), mel)
  expect(mel.filter((value) => value === 0).length).toBeGreaterThan(20)
  expect(mel.some((value) => value === 7)).toBe(false)
})
