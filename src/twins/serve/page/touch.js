// Whether fingers point here, as on phones: nothing is dropped there, and the camera has a program of its own.

export const byTouch = () => matchMedia("(pointer: coarse)").matches;
