/** @file The page's icons, drawn here. They carry no meaning of their own: the control beside them has its words. */

const PATHS = {
  mic: "M12 3a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3ZM5.5 11a6.5 6.5 0 0 0 13 0M12 17.5V21",
  micOff:
    "M9 9v2a3 3 0 0 0 4.6 2.5M15 11V6a3 3 0 0 0-5.7-1.3M5.5 11a6.5 6.5 0 0 0 10.2 5.3M18.5 11a6.4 6.4 0 0 1-.6 2.7M12 17.5V21M4 4l16 16",
  phone: "M6.5 3.5 9 4l1.2 4-2 1.6a12 12 0 0 0 6.2 6.2l1.6-2 4 1.2.5 2.500-2 3C11 21 3 13 3.500 5.500Z",
  hangUp: "M3 14.500c5-4.700 13-4.700 18 0l-2 2.700-3.800-1.400v-2.600a11 11 0 0 0-6.400 0v2.600L5 17.200Z",
  video: "M3.500 7.500h11v9h-11zM14.500 11l6-3.500v9l-6-3.500",
  chat: "M4 5h16v11H9.500L5 20v-4H4Z",
  stop: "M7 7h10v10H7z",
  send: "M12 20V5M5.500 11.500 12 5l6.500 6.500",
  clip: "m19 11.500-7.300 7.200a4.600 4.600 0 0 1-6.500-6.500l7.800-7.700a3 3 0 0 1 4.300 4.300l-7.700 7.700a1.500 1.500 0 0 1-2.200-2.200l6.800-6.800",
  sliders:
    "M4 7h9M17.500 7H20M4 17h3M11.500 17H20M15.200 9.300a2.300 2.300 0 1 0 0-4.600 2.300 2.300 0 0 0 0 4.600ZM9.200 19.300a2.300 2.300 0 1 0 0-4.600 2.300 2.300 0 0 0 0 4.600Z",
  hd: "M3.5 6h17v12h-17zM7 9.5v5M7 12h3.500M10.500 9.500v5M13.500 9.500v5h1.200a2.500 2.500 0 0 0 0-5Z",
  close: "m6 6 12 12M18 6 6 18",
  swap: "M4 9h13l-3.500-3.500M20 15H7l3.500 3.500",
  screen: "M3.500 5h17v11h-17zM9 20h6M12 16v4",
  save: "M12 4v11M7 10.500l5 5 5-5M4.500 20h15",
  sound: "M4 10v4h3.500l5 4V6l-5 4ZM16 9a4 4 0 0 1 0 6M18.500 6.500a8 8 0 0 1 0 11",
  copy: "M9 9h11v11H9ZM5.500 15H4V4h11v1.500",
  check: "m5 12.500 4.500 4.500L19 7",
  trash: "M5 7h14M10 7V4.500h4V7M7 7l1 13h8l1-13",
  info: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18ZM12 11v5.500M12 7.500v.2",
  eye: "M2.500 12S6 5.500 12 5.500 21.500 12 21.500 12 18 18.500 12 18.500 2.500 12 2.500 12ZM12 14.700a2.700 2.700 0 1 0 0-5.400 2.700 2.700 0 0 0 0 5.400Z",
} as const

export type IconName = keyof typeof PATHS

export function Icon({ name }: { name: IconName }) {
  return (
    <svg className="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  )
}
